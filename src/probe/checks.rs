//! Connectivity checks over one path (RFC 8445 §7): how many are answered, by whom, how quickly.
//!
//! They are like a browser's, but for USE-CANDIDATE: the pair is nominated later, by the call. Checks of the server are
//! answered meanwhile, as it may wait for that before it takes media.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::{Instant as Timer, sleep_until};

use super::facts::{PathFacts, PathState};
use super::journal::millis;
use super::path::{MOST_EARLY, Path};
use crate::sdp::{Description, IceCredentials};
use crate::stun::{self, BindingRequest, Class, IceRole, Key, Message, TransactionId};

/// When each check leaves while none is answered, in milliseconds: as close together as browsers' first ones, and far enough
/// apart at the end to outlive a second of loss.
const SCHEDULE: [u64; 7] = [0, 50, 150, 400, 900, 1600, 2500];
/// For the last of them to be answered: a path with a longer round trip carries no conversation.
const LAST_CHANCE: Duration = Duration::from_millis(1200);
/// Good answers that suffice.
const ENOUGH: u32 = 3;
/// Between an answer and the next check.
const PACE: Duration = Duration::from_millis(20);
/// ICMP errors, or STUN errors, that make further checks pointless.
const REFUSALS: u32 = 3;

/// Both sides' ICE credentials.
#[derive(Clone)]
pub(super) struct Credentials {
    local_ufrag: String,
    local_key: Key,
    remote_ufrag: String,
    remote_key: Key,
}

impl Credentials {
    /// Those of the first transport of both descriptions.
    pub(super) fn of(offer: &Description<'_>, answer: &Description<'_>) -> Option<Credentials> {
        fn first<'a>(description: &Description<'a>) -> Option<IceCredentials<'a>> {
            description.credentials(description.transports().next()?)
        }
        let (local, remote) = (first(offer)?, first(answer)?);
        Some(Credentials {
            local_ufrag: local.ufrag.to_owned(),
            local_key: Key::short_term(local.pwd),
            remote_ufrag: remote.ufrag.to_owned(),
            remote_key: Key::short_term(remote.pwd),
        })
    }
}

/// Checks `path`, and writes what came of it into `facts`.
pub(super) async fn check(path: &mut Path, credentials: &Credentials, facts: &mut PathFacts) {
    let mut run = Run { credentials, sent: Vec::new(), refusals: 0, facts };
    let broken = run.all(path).await.err();
    run.judge(broken);
}

struct Run<'a> {
    credentials: &'a Credentials,
    sent: Vec<(TransactionId, Instant)>,
    refusals: u32,
    facts: &'a mut PathFacts,
}

impl Run<'_> {
    async fn all(&mut self, path: &mut Path) -> io::Result<()> {
        let start = Timer::now();
        let mut next = Some(start);
        let mut buffer = Vec::new();
        while !self.is_decided() {
            let last = start + Duration::from_millis(SCHEDULE[SCHEDULE.len() - 1]) + LAST_CHANCE;
            tokio::select! {
                biased;
                () = sleep_until(next.unwrap_or(last)) => match next {
                    Some(_) => {
                        let sent = self.send(path).await;
                        self.survive(sent)?;
                        next = SCHEDULE.get(self.sent.len()).map(|ms| start + Duration::from_millis(*ms));
                    }
                    None => return Ok(()),
                },
                received = path.receive(&mut buffer) => {
                    let answers = self.facts.checks_answered;
                    match received {
                        Ok(()) => self.take(path, &buffer).await,
                        Err(error) => self.survive(Err(error))?,
                    }
                    if self.facts.checks_answered > answers {
                        next = (self.sent.len() < SCHEDULE.len()).then(|| Timer::now() + PACE);
                    }
                }
            }
        }
        Ok(())
    }

    fn is_decided(&self) -> bool {
        self.facts.checks_answered >= ENOUGH || self.refusals >= REFUSALS
    }

    /// An ICMP error says that nobody listened then; somebody may a moment later. Everything else ends the path.
    fn survive(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.refusals += 1;
                self.facts.state = PathState::Refused;
                Ok(())
            }
            other => other,
        }
    }

    async fn send(&mut self, path: &mut Path) -> io::Result<()> {
        let id: TransactionId = rand::random();
        let request = BindingRequest {
            receiver_ufrag: &self.credentials.remote_ufrag,
            sender_ufrag: &self.credentials.local_ufrag,
            priority: PRIORITY,
            role: IceRole::Controlling(TIE_BREAKER),
            use_candidate: false,
        };
        let mut packet = [0; 1024];
        let len = stun::binding_request(&mut packet, id, &request, &self.credentials.remote_key)
            .map_err(io::Error::other)?;
        self.sent.push((id, Instant::now()));
        self.facts.checks_sent += 1;
        path.send(&packet[..len]).await
    }

    async fn take(&mut self, path: &mut Path, packet: &[u8]) {
        let Ok(message) = Message::parse(packet) else {
            if path.early.len() < MOST_EARLY {
                path.early.push(packet.to_vec());
            }
            return;
        };
        match message.class() {
            Class::Request => self.answer(path, &message).await,
            Class::Success | Class::Error => self.count(&message),
            Class::Indication => {}
        }
    }

    fn count(&mut self, message: &Message<'_>) {
        let id = message.transaction_id();
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == id) else { return };
        if message.class() == Class::Error {
            let (code, reason) = message.error_code().map_or((0, ""), |(code, reason)| (code.0, reason));
            // Whoever says 487 knows the session and takes another role; the call sorts that out.
            if code != 487 {
                self.refusals += 1;
                self.facts.state = PathState::CheckRefused;
                self.facts.detail = Some(super::journal::clean(&format!("STUN {code} {reason}")));
                return;
            }
        } else if message.verify(&self.credentials.remote_key).is_err() {
            self.refusals += 1;
            self.facts.state = PathState::CheckForeign;
            return;
        }
        let took = millis(self.sent.swap_remove(at).1.elapsed());
        // The length of the list is what the schedule goes by.
        self.sent.push((TransactionId::default(), Instant::now()));
        self.facts.checks_answered += 1;
        self.facts.rtt_ms = Some(self.facts.rtt_ms.map_or(took, |best| best.min(took)));
    }

    async fn answer(&self, path: &mut Path, message: &Message<'_>) {
        if message.verify(&self.credentials.local_key).is_err() {
            return;
        }
        let mut packet = [0; stun::BINDING_RESPONSE_MAX];
        let id = message.transaction_id();
        if let Ok(len) = stun::binding_success(&mut packet, id, path.remote, &self.credentials.local_key) {
            let _ = path.send(&packet[..len]).await;
        }
    }

    fn judge(&mut self, broken: Option<io::Error>) {
        let facts = &mut *self.facts;
        if facts.checks_answered > 0 {
            facts.state = PathState::Answers;
            return;
        }
        if let Some(error) = broken {
            let closed =
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
            facts.state = if closed { PathState::Refused } else { PathState::NoRoute };
            facts.detail = Some(match closed {
                true => "the connection is closed in answer to the check".to_owned(),
                false => super::reach::said(&error),
            });
        } else if facts.state == PathState::Skipped {
            facts.state = PathState::Silent;
        }
    }
}

/// What a peer-reflexive host candidate would have (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 1_862_270_975;
/// Both sides agree on their roles from the start: who offers controls.
const TIE_BREAKER: u64 = u64::MAX;
