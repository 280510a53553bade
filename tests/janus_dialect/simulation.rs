//! Random life of a few handles, seeded: offers, answers, restarts, trickle and endings in any order from both sides. After
//! every message the commands must tell one consistent story, and the client must have been shown what was registered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use xrtc::dialect::{Carrier, Side, Verdict};
use xrtc::session::registration::{BackendCandidate, Command, EndReason, Mode, Registration, SessionId};

use crate::edge::*;

const SEEDS: u64 = 256;
const STEPS: usize = 120;

#[test]
fn any_order_of_messages_tells_the_packet_side_a_consistent_story() {
    let mut restarts = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step();
            world.check(seed, step);
        }
        restarts += world.restarts;
        world.finish(seed);
    }
    assert!(restarts > SEEDS as usize, "the walk restarts now and then: {restarts}");
}

struct World {
    edge: Edge,
    random: u64,
    handles: BTreeMap<(u64, u64), Model>,
    live: BTreeMap<SessionId, (Arc<Registration>, Vec<BackendCandidate>)>,
    commands_seen: usize,
    restarts: usize,
}

/// What both ends of a handle believe.
#[derive(Default)]
struct Model {
    client: Option<String>,
    client_offers: bool,
    backend: Option<String>,
    /// The ufrag that the client saw last.
    shown: Option<String>,
    /// An answer has completed the newest two descriptions.
    agreed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let handles = [(11, 22), (11, 23), (12, 22)].map(|key| (key, Model::default())).into();
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        World {
            edge: Edge::new(Mode::HalfProxy),
            random,
            handles,
            live: BTreeMap::new(),
            commands_seen: 0,
            restarts: 0,
        }
    }

    fn pick(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn step(&mut self) {
        let keys: Vec<_> = self.handles.keys().copied().collect();
        let key = keys[self.pick(keys.len() as u64) as usize];
        match self.pick(40) {
            0..=8 => self.client_sdp(key, "offer"),
            9..=15 => self.client_sdp(key, "answer"),
            16..=22 => self.backend_sdp(key, "offer"),
            23..=30 => self.backend_sdp(key, "answer"),
            31..=33 => self.backend_trickle(key),
            34 => self.client_says(key, "hangup"),
            35 => self.client_says(key, "detach"),
            36 => self.backend_hangup(key),
            37 => self.destroy(key.0),
            38 => self.packet_side_ends(),
            _ => {
                self.edge.now += Duration::from_secs(self.random % 100);
                self.edge.with(|dialect, cx| dialect.sweep(cx));
                // What the sweep may have forgotten is not known here: start over with everything.
                self.destroy(11);
                self.destroy(12);
            }
        }
    }

    /// Keeps the ufrag mostly, as renegotiations do.
    fn ufrag(&mut self, old: Option<&String>, side: char) -> String {
        match (old.cloned(), self.pick(3)) {
            (Some(old), 1..) => old,
            _ => format!("{side}{:08}", self.pick(100_000_000)),
        }
    }

    fn client_sdp(&mut self, key: (u64, u64), kind: &str) {
        let old = self.handles[&key].client.clone();
        let ufrag = self.ufrag(old.as_ref(), 'c');
        let path = format!("/janus/{}/{}", key.0, key.1);
        let body =
            json!({"janus": "message", "jsep": {"type": kind, "sdp": sdp(&ufrag, &[4000])}}).to_string();
        let carrier = Carrier::Rest { method: "POST", path: &path };
        let sent = sent_sdp(self.edge.handle(Side::Client, carrier, body.as_bytes()));
        assert!(!sent.contains(" 4000 typ"));
        let model = self.handles.get_mut(&key).unwrap();
        model.client = Some(ufrag);
        model.client_offers = kind == "offer";
        model.agreed = kind == "answer" && model.backend.is_some();
    }

    fn backend_sdp(&mut self, key: (u64, u64), kind: &str) {
        let old = self.handles[&key].backend.clone();
        let ufrag = self.ufrag(old.as_ref(), 'b');
        let mut event = event(kind, &sdp(&ufrag, &[5000]));
        (event["session_id"], event["sender"]) = (key.0.into(), key.1.into());
        let shown = sent_sdp(self.edge.backend(Value::from(vec![event])));
        assert!(!shown.contains(" 5000 typ") && !shown.contains(&ufrag));
        let model = self.handles.get_mut(&key).unwrap();
        model.backend = Some(ufrag);
        model.shown = Some(value_of(&shown, "a=ice-ufrag:").to_owned());
        model.agreed = kind == "answer" && model.client.is_some();
        model.client_offers &= kind != "answer";
    }

    fn backend_trickle(&mut self, key: (u64, u64)) {
        let mut event = trickle(candidate(5000 + self.pick(9) as u16));
        (event["session_id"], event["sender"]) = (key.0.into(), key.1.into());
        let verdict = self.edge.backend(event);
        assert!(
            matches!(verdict, Verdict::Replace(body) if !String::from_utf8_lossy(&body).contains("10.77"))
        );
    }

    fn client_says(&mut self, key: (u64, u64), what: &str) {
        let body = json!({"janus": what, "session_id": key.0, "handle_id": key.1}).to_string();
        self.edge.handle(Side::Client, Carrier::Rest { method: "POST", path: "/" }, body.as_bytes());
        self.handles.insert(key, Model::default());
    }

    fn backend_hangup(&mut self, key: (u64, u64)) {
        self.edge.backend(json!({"janus": "hangup", "session_id": key.0, "sender": key.1}));
        let old = self.handles.insert(key, Model::default()).unwrap();
        if old.client_offers {
            self.handles.insert(key, Model { client: old.client, client_offers: true, ..Model::default() });
        }
    }

    fn destroy(&mut self, session: u64) {
        let body = json!({"janus": "destroy", "session_id": session}).to_string();
        self.edge.handle(Side::Client, Carrier::Rest { method: "POST", path: "/" }, body.as_bytes());
        for (_, model) in self.handles.iter_mut().filter(|(key, _)| key.0 == session) {
            *model = Model::default();
        }
    }

    fn packet_side_ends(&mut self) {
        let Some((session, (registration, _))) = self.live.pop_first() else { return };
        self.edge.dialect.ended(session, EndReason::ClientSilent);
        let label = registration.origin.label.clone();
        for (key, model) in &mut self.handles {
            model.agreed &= *label != *format!("janus session {} handle {}", key.0, key.1);
        }
    }

    /// The commands since the last step make sense after all before them.
    fn check(&mut self, seed: u64, step: usize) {
        for command in &self.edge.commands[self.commands_seen..] {
            match command {
                Command::Register(new) => {
                    let old = self.live.insert(new.session, (new.clone(), new.candidates.clone()));
                    let expected = old.as_ref().map_or(0, |(old, _)| old.generation + 1);
                    assert_eq!(new.generation, expected, "seed {seed} step {step}");
                    self.restarts += usize::from(old.is_some());
                    if let Some((old, _)) = old {
                        assert!(
                            Arc::ptr_eq(&old.owner, &new.owner)
                                && old.origin == new.origin
                                && old.role == new.role
                        );
                    }
                }
                Command::AddCandidates(session, new) => {
                    let (_, known) =
                        self.live.get_mut(session).unwrap_or_else(|| panic!("seed {seed} step {step}"));
                    assert!(
                        !new.is_empty() && new.iter().all(|it| !known.contains(it)),
                        "seed {seed} step {step}"
                    );
                    known.extend(new.iter().cloned());
                }
                Command::End(session, _) => {
                    assert!(
                        self.live.remove(session).is_some(),
                        "seed {seed} step {step}: ends what is not live"
                    );
                }
            }
        }
        self.commands_seen = self.edge.commands.len();
        self.check_live(seed, step);
    }

    fn check_live(&self, seed: u64, step: usize) {
        let ufrags: BTreeSet<_> = self.live.values().map(|(it, _)| it.edge.ufrag.clone()).collect();
        assert_eq!(ufrags.len(), self.live.len(), "seed {seed} step {step}: two sessions with one ufrag");
        for (key, model) in self.handles.iter().filter(|(_, model)| model.agreed) {
            let label = format!("janus session {} handle {}", key.0, key.1);
            let mut mine = self.live.values().map(|(it, _)| it).filter(|it| *it.origin.label == *label);
            let live =
                mine.next().unwrap_or_else(|| panic!("seed {seed} step {step}: {label} is not registered"));
            assert!(mine.next().is_none(), "seed {seed} step {step}: {label} is registered twice");
            let told =
                [&live.client.ufrag, &live.backend.ufrag, &live.edge.ufrag].map(|it| Some(it.to_string()));
            let believed = [&model.client, &model.backend, &model.shown].map(Clone::clone);
            assert_eq!(told, believed, "seed {seed} step {step}");
        }
    }

    fn finish(mut self, seed: u64) {
        self.destroy(11);
        self.destroy(12);
        self.check(seed, STEPS);
        assert!(self.live.is_empty(), "seed {seed}: {:?}", self.live);
    }
}
