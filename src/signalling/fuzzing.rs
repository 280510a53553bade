//! Hostile clients of every room protocol: a script of bytes, played against the state machine. It must not panic, not send to
//! somebody who is not there, not pass on what is no JSON, and be empty when everybody has left.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::protocol::{
    Answer, Context, Departure, Effect, Input, Knock, PeerKey, Protocol, ServerEvent, Size,
};
use super::{blueprints, gst, webrtc_server, webrtcsink};
use crate::config::{
    Auth, BlueprintsRules, GstRules, RoomLimits, Secret, TurnCredentials, WebrtcServerRules,
};
use crate::json_edit;

/// Plays a script; each of its lines is what one of eight clients does.
pub fn fuzz(script: &[u8]) {
    for (speaks_json, protocol) in protocols() {
        Play { protocol, speaks_json, there: [None; 8], next: 1, random: 7 }.all(script);
    }
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
    ]
}

struct Play {
    protocol: Box<dyn Protocol>,
    speaks_json: bool,
    there: [Option<PeerKey>; 8],
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
        assert_eq!(self.protocol.size(), Size::default());
        assert!(self.protocol.rooms().is_empty());
    }

    fn line(&mut self, who: usize, what: u8, text: &[u8]) {
        if self.there[who].is_none() {
            return self.open(who, text);
        }
        match what % 16 {
            0 => self.input(who, Input::Gone(Departure::Left(1000))),
            1 => self.input(who, Input::Binary(Bytes::copy_from_slice(text))),
            2 => self.input(who, Input::Deadline),
            3 => {
                let username = String::from_utf8_lossy(text).into_owned();
                self.input(who, Input::Answer(Answer::Login { username, is_valid: true }));
            }
            4 => self.run(|protocol, cx| {
                let event = ServerEvent { event: String::from_utf8_lossy(text).into(), data: None };
                protocol.publish(cx, "r", &event);
            }),
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

    fn run(&mut self, call: impl FnOnce(&mut dyn Protocol, &mut Context<'_>)) {
        let Play { protocol, speaks_json, there, random, .. } = self;
        let mut effects = Vec::new();
        let mut fill = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                *random = random.wrapping_mul(5).wrapping_add(3);
                *random
            });
        };
        let unix = Duration::from_secs(1_000_000);
        let mut cx = Context {
            now: Instant::now(),
            unix,
            random: &mut fill,
            effects: &mut effects,
            notices_are_full: false,
        };
        call(&mut **protocol, &mut cx);
        while !cx.effects.is_empty() {
            for effect in std::mem::take(cx.effects) {
                match effect {
                    Effect::Send(to, text) => {
                        assert!(there.contains(&Some(to)), "a message to nobody");
                        let is_json = json_edit::whole_value(&text).is_ok() || text == b"pong"[..];
                        assert!(!*speaks_json || is_json, "what is sent is no JSON");
                    }
                    Effect::SendBinary(to, _) => assert!(there.contains(&Some(to)), "a message to nobody"),
                    Effect::Close(peer, code, _) => {
                        assert!(matches!(code, 1000 | 1002), "close code {code}");
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
                    // A media server that never answers.
                    Effect::Dial(..) | Effect::ToServer(..) | Effect::HangUp(_) => {}
                    Effect::Ask(_) | Effect::Deadline(_) | Effect::Tell(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients of all four protocols say in a call.
    const SCRIPT: &[u8] = b"\x00\n\x01\n\x02\n\x28HELLO a\n\x29HELLO b\n\x28SESSION b\n\x29{\"sdp\":1}\n\x2aHELLO c\n\x2aROOM r\n\
        \x28{\"event\":\"authenticate\",\"data\":{\"username\":\"u\",\"password\":\"p\"}}\n\x18u\n\x19v\n\
        \x28{\"event\":\"e\",\"to\":\"Ao8=\",\"from\":1}\n\x28ping\n\
        \x28{\"type\":\"GETROOM\",\"value\":\"\"}\n\x29{\"type\":\"ENTERROOM\",\"value\":123456}\n\x28{\"type\":\"offer\"}\n\
        \x28{\"type\":\"setPeerStatus\",\"roles\":[\"producer\"],\"meta\":{\"name\":\"n\"}}\n\x29{\"type\":\"list\"}\n\
        \x29{\"type\":\"startSession\",\"peerId\":\"x\"}\n\x20news\n\x10\n\x08bin\n\x01";

    #[test]
    fn hostile_scripts_do_no_harm() {
        fuzz(SCRIPT);
        for end in 0..SCRIPT.len() {
            fuzz(&SCRIPT[..end]);
        }
        for at in 0..SCRIPT.len() {
            for with in *b"\x00\xff\n\"{}[\\ :8" {
                let mut mutated = SCRIPT.to_vec();
                mutated[at] = with;
                fuzz(&mutated);
            }
        }
    }
}
