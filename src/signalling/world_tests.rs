//! A room protocol in virtual time: what it does comes out as one text per effect, in order, and a close is followed by the end
//! of that connection, as in the shell.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::protocol::*;
use crate::config::RoomLimits;

pub(super) struct World<P> {
    pub(super) protocol: P,
    pub(super) now: Instant,
    pub(super) unix: Duration,
    random: u8,
    next: u64,
}

pub(super) const LIMITS: RoomLimits =
    RoomLimits { message: 65536, peers: 0, rooms: 0, connects: None, queue: 1024 };

impl<P: Protocol> World<P> {
    pub(super) fn new(protocol: P) -> Self {
        World { protocol, now: Instant::now(), unix: Duration::from_secs(1_000_000), random: 0, next: 1 }
    }

    /// A connection to `rest`, behind the prefix of the route.
    pub(super) fn knock(
        &mut self,
        rest: &str,
        query: Option<&str>,
    ) -> (Result<PeerKey, Refusal>, Vec<String>) {
        let peer = PeerKey(self.next);
        self.next += 1;
        let knock = Knock { path: rest, rest, query, client: [192, 0, 2, 7].into() };
        let mut opened = Ok(peer);
        let effects = self.run(|protocol, cx| {
            if let Err(refusal) = protocol.open(cx, peer, &knock) {
                opened = Err(refusal);
            }
        });
        (opened, effects)
    }

    pub(super) fn connect(&mut self) -> PeerKey {
        self.knock("/", None).0.unwrap()
    }

    pub(super) fn say(&mut self, peer: PeerKey, text: &str) -> Vec<String> {
        self.input(peer, Input::Text(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub(super) fn binary(&mut self, peer: PeerKey, data: &'static [u8]) -> Vec<String> {
        self.input(peer, Input::Binary(Bytes::from_static(data)))
    }

    pub(super) fn leave(&mut self, peer: PeerKey) -> Vec<String> {
        self.input(peer, Input::Gone(Departure::Left(1000)))
    }

    pub(super) fn input(&mut self, peer: PeerKey, input: Input) -> Vec<String> {
        self.run(|protocol, cx| protocol.handle(cx, peer, input))
    }

    pub(super) fn run(&mut self, call: impl FnOnce(&mut P, &mut Context<'_>)) -> Vec<String> {
        let mut effects = Vec::new();
        let World { protocol, now, unix, random, .. } = self;
        let mut fill = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                *random = random.wrapping_mul(5).wrapping_add(3);
                *random
            });
        };
        let mut cx = Context {
            now: *now,
            unix: *unix,
            random: &mut fill,
            effects: &mut effects,
            notices_are_full: false,
        };
        call(protocol, &mut cx);
        let mut texts = Vec::new();
        let mut closed = Vec::new();
        loop {
            let done = std::mem::take(cx.effects);
            if done.is_empty() && closed.is_empty() {
                return texts;
            }
            for effect in done {
                if let Effect::Close(peer, ..) | Effect::CutOff(peer, ..) = effect {
                    closed.push(peer);
                }
                texts.push(text(effect, *now));
            }
            if let Some(peer) = closed.pop() {
                protocol.handle(&mut cx, peer, Input::Gone(Departure::Closed));
            }
        }
    }

    /// Any input, any number of peers, closes and ends at any time: never a panic, never a message to nobody, and empty in the end.
    pub(super) fn survives(&mut self, inputs: &[&str], seed: u64) {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let mut there: Vec<PeerKey> = Vec::new();
        for _ in 0..400 {
            let pick = rng.random_range(0..100);
            let peer = (!there.is_empty()).then(|| there[rng.random_range(0..there.len())]);
            let effects = match (pick, peer) {
                (0..10, _) | (_, None) => {
                    let (opened, effects) = self.knock("/r", None);
                    there.extend(opened);
                    effects
                }
                (10..15, Some(peer)) => {
                    there.retain(|other| *other != peer);
                    self.leave(peer)
                }
                (15..18, Some(peer)) => self.input(peer, Input::Deadline),
                (18..22, Some(peer)) => self.binary(peer, b"\xff\x00"),
                (22..40, Some(peer)) => {
                    let mut text = inputs[rng.random_range(0..inputs.len())].as_bytes().to_vec();
                    if !text.is_empty() {
                        let at = rng.random_range(0..text.len());
                        text[at] = rng.random_range(b' '..0x7f);
                    }
                    self.say(peer, &String::from_utf8_lossy(&text))
                }
                (_, Some(peer)) => self.say(peer, inputs[rng.random_range(0..inputs.len())]),
            };
            for effect in effects {
                let Some((peer, rest)) = effect.split_once([':', ' ']) else { continue };
                let Ok(key) = peer.parse().map(PeerKey) else { continue };
                assert!(there.contains(&key), "{effect}: nobody is there; {rest}");
                if rest.starts_with("closed") {
                    there.retain(|other| *other != key);
                }
            }
        }
        for peer in there {
            self.leave(peer);
        }
        assert_eq!(self.protocol.size(), Size::default());
        assert_eq!(self.protocol.rooms(), []);
    }
}

fn text(effect: Effect, now: Instant) -> String {
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match effect {
        Effect::Send(PeerKey(peer), text) => format!("{peer}: {}", utf8(&text)),
        Effect::SendBinary(PeerKey(peer), data) => format!("{peer}: binary {data:?}"),
        Effect::Close(PeerKey(peer), code, reason) => {
            format!("{peer} closed {code} {reason}").trim_end().to_owned()
        }
        Effect::CutOff(PeerKey(peer), code, reason) => format!("{peer} closed {code} {reason}"),
        Effect::Dial(link, room) => format!("dial {} {room}", link.0),
        Effect::ToServer(link, text) => format!("to server {} {}", link.0, utf8(&text)),
        Effect::HangUp(link) => format!("hang up {}", link.0),
        Effect::Deadline(None) => "no deadline".to_owned(),
        Effect::Deadline(Some(at)) => format!("deadline {:?}", at - now),
        Effect::Ask(question) => format!("ask {question:?}"),
        Effect::Tell(notice) => format!("tell {}", utf8(&notice.body)),
    }
}
