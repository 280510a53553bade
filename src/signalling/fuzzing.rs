//! Hostile clients of every room protocol, and a hostile media server behind them: a script of bytes, played against the state
//! machine. It must not panic, not send to somebody who is not there, not pass on what is no JSON, and be empty when everybody
//! has left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::protocol::{
    Answer, Context, Departure, Effect, FromServer, Input, Knock, LinkKey, PeerKey, Protocol, ServerEvent,
    Size,
};
use super::{blueprints, gst, live, webrtc_server, webrtcsink};
use crate::config::{
    Auth, BlueprintsRules, GstRules, LiveEvents, LiveJanus, LiveMode, LiveRules, LiveVideo, RoomLimits,
    Secret, TurnCredentials, WebrtcServerRules,
};
use crate::json_edit;

/// Who lost the connection may come back for so long.
const GRACE: Duration = Duration::from_secs(30);

/// Plays a script; each of its lines is what one of eight clients does, or what the media server says to one.
pub fn fuzz(script: &[u8]) {
    for (speaks_json, protocol) in protocols() {
        let play = Play {
            protocol,
            speaks_json,
            there: [None; 8],
            links: BTreeMap::new(),
            now: Instant::now(),
            next: 1,
            random: 7,
        };
        play.all(script);
    }
    live::fuzz_bearer(script);
}

/// With each, whether all that it sends is JSON.
fn protocols() -> Vec<(bool, Box<dyn Protocol>)> {
    let limits = RoomLimits { message: 65536, peers: 3, rooms: 3, connects: None, queue: 16 };
    let keepalive = Duration::from_secs(30);
    let secret = || Secret::new("s");
    let turn = TurnCredentials { url: "turn:h".into(), secret: secret(), lifetime: keepalive };
    let auth = Auth { password: Some(secret()), ..Auth::default() };
    let gst = GstRules { token: None, keepalive, health: None };
    let webrtc_server =
        WebrtcServerRules { auth, auth_timeout: keepalive, idle_timeout: None, webhook: None };
    let blueprints = BlueprintsRules { token: None, keepalive, turn: Some(turn) };
    vec![
        (false, Box::new(gst::Gst::new(&gst, &limits))),
        (true, Box::new(webrtcsink::Webrtcsink::new(&gst, &limits))),
        (true, Box::new(blueprints::Blueprints::new(&blueprints, &limits))),
        (true, Box::new(webrtc_server::WebrtcServer::new(&webrtc_server, &limits))),
        (true, Box::new(live::Live::new(&live_rules(LiveMode::P2p), &limits))),
        (true, Box::new(live::Live::new(&live_rules(LiveMode::Routed), &limits))),
    ]
}

/// Bearers are `a` and `b`, or signed with `s`.
fn live_rules(mode: LiveMode) -> LiveRules {
    let users = ["a", "b"].map(|name| (name.to_owned(), Secret::new(name)));
    LiveRules {
        jwt_secret: Some(Secret::new("s")),
        auth: Auth { users: users.to_vec(), ..Auth::default() },
        mode,
        rooms: BTreeMap::new(),
        upstream: None,
        janus: LiveJanus { audiobridge: true, ..LiveJanus::default() },
        grace: GRACE,
        video: LiveVideo::default(),
        events: LiveEvents { ping: true, freeze: true, cpu: true, ..LiveEvents::default() },
    }
}

struct Play {
    protocol: Box<dyn Protocol>,
    speaks_json: bool,
    there: [Option<PeerKey>; 8],
    /// Conversations with the media server that are open, each with the transaction that was asked last.
    links: BTreeMap<u64, u64>,
    now: Instant,
    next: u64,
    random: u8,
}

impl Play {
    fn all(mut self, script: &[u8]) {
        for line in script.split(|byte| *byte == b'\n').take(512) {
            let Some((who, text)) = line.split_first() else { continue };
            self.line(usize::from(who % 8), who / 8, text);
        }
        for who in 0..8 {
            self.input(who, Input::Gone(Departure::Closed));
        }
        self.later(GRACE);
        assert_eq!(self.protocol.size(), Size::default());
        assert!(self.protocol.rooms().is_empty());
        assert!(self.links.is_empty(), "the media server is still spoken to");
    }

    fn line(&mut self, who: usize, what: u8, text: &[u8]) {
        match what % 16 {
            12 => return self.later(Duration::from_secs(text.len() as u64)),
            13 => return self.server(who, FromServer::Gone),
            14 | 15 => return self.server_says(who, text),
            _ => {}
        }
        if self.there[who].is_none() {
            return self.open(who, text);
        }
        match what % 16 {
            0 => self.input(who, Input::Gone(Departure::Left(1000))),
            1 => self.input(who, Input::Binary(Bytes::copy_from_slice(text))),
            2 => self.input(who, Input::Deadline),
            3 => {
                let username = String::from_utf8_lossy(text).into_owned();
                self.input(who, Input::Answer(Answer::Bearer { user: Some(username.clone()) }));
                self.input(who, Input::Answer(Answer::Login { username, is_valid: true }));
            }
            4 => self.run(|protocol, cx| {
                let event = ServerEvent { event: String::from_utf8_lossy(text).into(), data: None };
                protocol.publish(cx, "r", &event);
            }),
            11 => self.input(who, Input::Gone(Departure::Lost(vec![Bytes::from_static(b"{}")]))),
            _ => self.input(who, Input::Text(String::from_utf8_lossy(text).into_owned().into())),
        }
    }

    fn open(&mut self, who: usize, text: &[u8]) {
        let peer = PeerKey(self.next);
        self.next += 1;
        let path = String::from_utf8_lossy(text);
        let rest = if text.is_empty() { "/r" } else { &*path };
        let knock = Knock { path: rest, rest, query: None, client: [192, 0, 2, 1].into() };
        self.there[who] = Some(peer);
        let mut is_in = false;
        self.run(|protocol, cx| is_in = protocol.open(cx, peer, &knock).is_ok());
        if !is_in {
            self.there[who] = None;
        }
    }

    fn input(&mut self, who: usize, input: Input) {
        let Some(peer) = self.there[who] else { return };
        if matches!(input, Input::Gone(_)) {
            self.there[who] = None;
        }
        self.run(|protocol, cx| protocol.handle(cx, peer, input));
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.run(|protocol, cx| protocol.tick(cx));
    }

    /// The media server says something in the `which`-th open conversation; `@` is the transaction that was asked last.
    fn server_says(&mut self, which: usize, text: &[u8]) {
        let Some((_, asked)) = self.link(which) else { return };
        let text = String::from_utf8_lossy(text).replace('@', &asked.to_string());
        self.server(which, FromServer::Text(text.into()));
    }

    fn server(&mut self, which: usize, said: FromServer) {
        let Some((link, _)) = self.link(which) else { return };
        if said == FromServer::Gone {
            self.links.remove(&link);
        }
        self.run(|protocol, cx| protocol.server(cx, LinkKey(link), said));
    }

    fn link(&self, which: usize) -> Option<(u64, u64)> {
        let at = which.checked_rem(self.links.len())?;
        self.links.iter().nth(at).map(|(link, asked)| (*link, *asked))
    }

    fn run(&mut self, call: impl FnOnce(&mut dyn Protocol, &mut Context<'_>)) {
        let Play { protocol, speaks_json, there, links, random, now, .. } = self;
        let mut effects = Vec::new();
        let mut fill = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                *random = random.wrapping_mul(5).wrapping_add(3);
                *random
            });
        };
        let unix = Duration::from_secs(1_000_000);
        let mut cx =
            Context { now: *now, unix, random: &mut fill, effects: &mut effects, notices_are_full: false };
        call(&mut **protocol, &mut cx);
        while !cx.effects.is_empty() {
            for effect in std::mem::take(cx.effects) {
                match effect {
                    Effect::Send(to, text) => {
                        let is_json = json_edit::whole_value(&text).is_ok() || text == b"pong"[..];
                        assert!(!*speaks_json || is_json, "what is sent is no JSON");
                        assert!(there.contains(&Some(to)), "a message to nobody");
                    }
                    Effect::SendBinary(to, _) => assert!(there.contains(&Some(to)), "a message to nobody"),
                    Effect::Close(peer, code, _) => {
                        assert!(matches!(code, 1000 | 1002 | 1008), "close code {code}");
                        if let Some(at) = there.iter().position(|known| *known == Some(peer)) {
                            there[at] = None;
                            protocol.handle(&mut cx, peer, Input::Gone(Departure::Closed));
                        }
                    }
                    Effect::CutOff(peer, ..) => {
                        if let Some(at) = there.iter().position(|known| *known == Some(peer)) {
                            there[at] = None;
                            protocol.handle(&mut cx, peer, Input::Gone(Departure::Lost(Vec::new())));
                        }
                    }
                    Effect::Dial(link, _) => {
                        assert!(links.insert(link.0, 0).is_none(), "a conversation is begun twice");
                    }
                    Effect::ToServer(link, text) => {
                        let message = json_edit::whole_value(&text);
                        let message = message.unwrap_or_else(|_| panic!("what Janus is told is no JSON"));
                        let asked = message.member("transaction").and_then(|it| it.string()?.parse().ok());
                        if let Some(known) = links.get_mut(&link.0) {
                            *known = asked.unwrap_or(*known);
                        }
                    }
                    Effect::HangUp(link) => drop(links.remove(&link.0)),
                    Effect::Ask(_) | Effect::Deadline(_) | Effect::Tell(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients of the first four protocols say in a call.
    const SCRIPT: &[u8] = b"\x00\n\x01\n\x02\n\x28HELLO a\n\x29HELLO b\n\x28SESSION b\n\x29{\"sdp\":1}\n\x2aHELLO c\n\x2aROOM r\n\
        \x28{\"event\":\"authenticate\",\"data\":{\"username\":\"u\",\"password\":\"p\"}}\n\x18u\n\x19v\n\
        \x28{\"event\":\"e\",\"to\":\"Ao8=\",\"from\":1}\n\x28ping\n\
        \x28{\"type\":\"GETROOM\",\"value\":\"\"}\n\x29{\"type\":\"ENTERROOM\",\"value\":123456}\n\x28{\"type\":\"offer\"}\n\
        \x28{\"type\":\"setPeerStatus\",\"roles\":[\"producer\"],\"meta\":{\"name\":\"n\"}}\n\x29{\"type\":\"list\"}\n\
        \x29{\"type\":\"startSession\",\"peerId\":\"x\"}\n\x20news\n\x10\n\x08bin\n\x01";

    /// What clients of a routed room say, and Janus to them: join, the mix, an offer, somebody who comes and is lost.
    const LIVE: &[u8] = b"\x00\n\x01\n\x28{\"a\":\"join\",\"d\":{\"roomId\":\"r\",\"bearer\":\"a\",\"mcu\":true,\"platform\":\"Web\"}}\n\
        p{\"janus\":\"success\",\"transaction\":\"@\",\"data\":{\"id\":7}}\np{\"janus\":\"success\",\"transaction\":\"@\",\"data\":{\"id\":70}}\n\
        p{\"janus\":\"success\",\"transaction\":\"@\",\"plugindata\":{\"data\":{\"error_code\":427}}}\n\
        p{\"janus\":\"event\",\"sender\":70,\"transaction\":\"@\",\"plugindata\":{\"data\":{\"publishers\":[{\"id\":5}],\"private_id\":9}}}\n\
        p{\"janus\":\"success\",\"transaction\":\"@\",\"data\":{\"id\":80}}\np{\"janus\":\"success\",\"transaction\":\"@\"}\n\
        p{\"janus\":\"event\",\"sender\":80,\"transaction\":\"@\",\"jsep\":{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}}\n\
        \x28{\"a\":\"exchangeSdp\",\"d\":{\"to\":\"publisher\",\"sdp\":{\"type\":\"offer\",\"sdp\":\"v=0\\r\\nm=audio 9 X 1\\r\\n\"}}}\n\
        p{\"janus\":\"event\",\"sender\":70,\"transaction\":\"@\",\"jsep\":{\"type\":\"answer\",\"sdp\":\"v\"}}\n\
        p{\"janus\":\"webrtcup\",\"sender\":70}\np{\"janus\":\"hangup\",\"sender\":80}\n\
        \x29{\"a\":\"join\",\"d\":{\"roomId\":\"r\",\"bearer\":\"b\"}}\n\x28{\"a\":\"sendMessage\",\"d\":{\"to\":\"x\",\"message\":1}}\n\
        \x28{\"a\":\"exchangeCandidate\",\"d\":{\"to\":\"mcu\",\"candidate\":\"{}\"}}\np{\"janus\":\"ack\",\"transaction\":\"@\"}\n\
        \x58\n\x00\n\x28{\"a\":\"reconnect\",\"d\":{\"socketId\":\"12DF\"}}\n`0123456789\nh\n`0123456789012345678901234567890";

    #[test]
    fn hostile_scripts_do_no_harm() {
        for script in [SCRIPT, LIVE] {
            fuzz(script);
            for end in (0..script.len()).step_by(3) {
                fuzz(&script[..end]);
            }
            for at in 0..script.len() {
                // One of them at each place, another one in each run through the places of the script.
                for with in [b"\x00\xff\n\"{}"[at % 6], b"[\\ :8@"[at % 6]] {
                    let mut mutated = script.to_vec();
                    mutated[at] = with;
                    fuzz(&mutated);
                }
            }
        }
    }

    #[test]
    fn the_script_gets_somebody_into_a_routed_room_with_a_mix() {
        let limits = RoomLimits { message: 65536, peers: 3, rooms: 3, connects: None, queue: 16 };
        let protocol = Box::new(live::Live::new(&live_rules(LiveMode::Routed), &limits));
        let links = BTreeMap::new();
        let mut play = Play {
            protocol,
            speaks_json: true,
            there: [None; 8],
            links,
            now: Instant::now(),
            next: 1,
            random: 7,
        };
        let mut most = Size::default();
        for line in LIVE.split(|byte| *byte == b'\n') {
            let Some((who, text)) = line.split_first() else { continue };
            play.line(usize::from(who % 8), who / 8, text);
            most = if play.protocol.size().people > most.people { play.protocol.size() } else { most };
        }
        assert_eq!(most, Size { rooms: 1, people: 1 });
    }
}
