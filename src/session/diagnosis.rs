//! \[pure\] What is missing in a session, and on whose side: one line for a person who has to fix it.

use super::observe::{Mark, Milestone, StreamReport};
use super::registration::EndReason;
use super::story::{Stage, Story};

/// Who has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nobody: it works, or it ended as it should.
    Nobody,
    /// Nobody yet: it is on its way.
    Underway,
    /// The client, or the network between it and the edge.
    Client,
    /// The backend, or the network between it and the edge.
    Backend,
    /// The edge's configuration.
    Edge,
}

impl Side {
    /// Stable snake-case name.
    pub fn label(self) -> &'static str {
        match self {
            Side::Nobody => "nobody",
            Side::Underway => "underway",
            Side::Client => "client",
            Side::Backend => "backend",
            Side::Edge => "edge",
        }
    }
}

/// The verdict over a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Who has to do something.
    pub side: Side,
    /// What is missing, one sentence without a full stop.
    pub text: String,
}

/// A browser sends its first check within a second of the answer, and gives up after 15 to 30: whoever is silent for so
/// long, ms, is not coming.
const FIRST_CHECK: u32 = 8_000;
/// The same for each further step, which takes a few round trips.
const NEXT_STEP: u32 = 4_000;
/// Share of packets lost that people see and hear.
const NOTICEABLE_LOSS: f64 = 0.02;

/// Diagnoses a session; `ended` says why it is over, `published` what the client was told to connect to.
pub fn diagnose(story: &Story, ended: Option<EndReason>, published: &str) -> Diagnosis {
    let case = Case { story, ended, published };
    match story.stage {
        _ if !case.has(Milestone::ClientCheck) => case.without_client(),
        Stage::Connected => case.connected(),
        _ => case.without_backend(),
    }
}

struct Case<'s> {
    story: &'s Story,
    ended: Option<EndReason>,
    published: &'s str,
}

impl Case<'_> {
    fn without_client(&self) -> Diagnosis {
        let forged = self.mark(Milestone::BadIntegrity);
        if forged.count() > 0 {
            let text = format!(
                "the client's checks arrive but fail integrity ({}): it does not use the a=ice-pwd of the edge's answer, \
                 or uses that of an older one",
                self.times(forged)
            );
            return client(text);
        }
        match self.ended {
            Some(EndReason::TooManySessions) => edge("never served: limits.sessions is reached".to_owned()),
            Some(EndReason::PairInUse) => {
                edge("never served: another running session has the same pair of ufrags".to_owned())
            }
            None if self.age() < FIRST_CHECK => underway("waiting for the client's first check".to_owned()),
            Some(reason) if reason != EndReason::NeverConnected && self.age() < FIRST_CHECK => {
                nobody(format!(
                    "ended ({}) after {} before the client sent a check",
                    reason.label(),
                    seconds(self.age())
                ))
            }
            _ => client(format!(
                "no check from the client in {}: {} is blocked on the way, or is not the address clients reach",
                seconds(self.age()),
                self.published
            )),
        }
    }

    fn without_backend(&self) -> Diagnosis {
        let (sent, heard) = (self.mark(Milestone::BackendSent), self.mark(Milestone::BackendStun));
        let rejected = self.mark(Milestone::BackendRejected);
        if self.story.backends.is_empty() {
            return backend(
                "the backend gave no candidate: nothing in its answer, and none trickled".to_owned(),
            );
        }
        if self.ended.is_none() && self.since(Milestone::ClientCheck) < NEXT_STEP {
            return underway("the client's checks are fine; waiting for the backend".to_owned());
        }
        if heard.count() > 0 {
            return backend(format!(
                "the backend answers at {}, but no pair was nominated",
                self.tried(|backend| backend.answered)
            ));
        }
        if rejected.count() > 0 {
            return backend(format!(
                "the backend's STUN does not fit the credentials of its answer ({}): another process at {}, or an \
                 outdated answer",
                self.times(rejected),
                self.tried(|_| true)
            ));
        }
        if sent.count() == 0 {
            return backend(format!("no way to the backend: cannot connect to {}", self.tried(|_| true)));
        }
        backend(format!(
            "the backend answers no checks at {} ({}): it is gone, does not listen there, or a firewall is between",
            self.tried(|backend| backend.local.is_some()),
            self.times(sent)
        ))
    }

    fn connected(&self) -> Diagnosis {
        self.alert()
            .or_else(|| self.half_a_handshake())
            .or_else(|| self.no_handshake())
            .or_else(|| self.silence())
            .unwrap_or_else(|| self.flows())
    }

    fn alert(&self) -> Option<Diagnosis> {
        let [up, down] = self.story.alerts;
        // close_notify says goodbye.
        let told = |alert: Option<u8>| alert.filter(|alert| *alert != 0);
        if let Some(alert) = told(up) {
            let text = format!("the client broke off DTLS with alert {}", alert_name(alert));
            return Some(Diagnosis { side: alert_side(alert, Side::Client), text });
        }
        told(down).map(|alert| {
            let text = format!("the backend broke off DTLS with alert {}", alert_name(alert));
            Diagnosis { side: alert_side(alert, Side::Backend), text }
        })
    }

    fn half_a_handshake(&self) -> Option<Diagnosis> {
        let went = |hello, answer| self.has(hello) && !self.has(answer);
        let late = |hello| self.ended.is_some() || self.since(hello) >= NEXT_STEP;
        if went(Milestone::ClientHelloUp, Milestone::ServerHelloDown) && !self.has(Milestone::ClientHelloDown)
        {
            let times = self.times(self.mark(Milestone::ClientHelloUp));
            let text = format!("DTLS ClientHello went to the backend ({times}), no ServerHello came back");
            return Some(if late(Milestone::ClientHelloUp) { backend(text) } else { underway(text) });
        }
        if went(Milestone::ClientHelloDown, Milestone::ServerHelloUp) && !self.has(Milestone::ClientHelloUp) {
            let times = self.times(self.mark(Milestone::ClientHelloDown));
            let text = format!("DTLS ClientHello went to the client ({times}), no ServerHello came back");
            return Some(if late(Milestone::ClientHelloDown) { client(text) } else { underway(text) });
        }
        None
    }

    fn no_handshake(&self) -> Option<Diagnosis> {
        let started = [Milestone::ClientHelloUp, Milestone::ClientHelloDown];
        let flows = [Milestone::MediaUp, Milestone::MediaDown];
        if started.into_iter().chain(flows).any(|milestone| self.has(milestone)) {
            return None;
        }
        if self.ended.is_none() && self.since(Milestone::Connected) < NEXT_STEP {
            return Some(underway("both legs are up; waiting for DTLS to start".to_owned()));
        }
        let text = "both legs are up, but neither side has started DTLS: see a=setup in offer and answer";
        Some(backend(text.to_owned()))
    }

    /// A side that was connected stopped.
    fn silence(&self) -> Option<Diagnosis> {
        let lasted = seconds(self.age());
        match self.ended? {
            EndReason::ClientSilent => {
                Some(client(format!("ended after {lasted}: nothing came from the client for 30 s")))
            }
            EndReason::BackendSilent => {
                Some(backend(format!("ended after {lasted}: the backend stopped answering checks")))
            }
            EndReason::ClientClosed => {
                Some(nobody(format!("ended after {lasted}: the client closed its last connection")))
            }
            reason => {
                Some(nobody(format!("ended after {lasted} as told by signalling ({})", reason.label())))
            }
        }
    }

    fn flows(&self) -> Diagnosis {
        let ways = (self.has(Milestone::MediaUp), self.has(Milestone::MediaDown));
        let way = match ways {
            (true, true) => "media flows both ways",
            (true, false) => "media flows from the client alone",
            (false, true) => "media flows from the backend alone",
            (false, false) => "connected; no media, as with data channels alone",
        };
        let (up, down) = (loss(&self.story.from_client), loss(&self.story.from_backend));
        match (up >= NOTICEABLE_LOSS, down >= NOTICEABLE_LOSS) {
            (true, _) if up >= down => {
                client(format!("{way}; {} of the client's packets never reach the edge", percent(up)))
            }
            (_, true) => {
                backend(format!("{way}; {} of the backend's packets never reach the edge", percent(down)))
            }
            _ => nobody(way.to_owned()),
        }
    }

    fn has(&self, milestone: Milestone) -> bool {
        self.story.milestones.has(milestone)
    }

    fn mark(&self, milestone: Milestone) -> Mark {
        self.story.milestones.get(milestone)
    }

    fn age(&self) -> u32 {
        u32::try_from(self.story.age.as_millis()).unwrap_or(u32::MAX)
    }

    /// Milliseconds since it first happened.
    fn since(&self, milestone: Milestone) -> u32 {
        self.mark(milestone).first().map_or(0, |first| self.age().saturating_sub(first))
    }

    /// `7 times, last 3.0 s ago`; for a session that is over without the second half.
    fn times(&self, mark: Mark) -> String {
        let count = match mark.count() {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        match (self.ended, mark.last()) {
            (None, Some(last)) => format!("{count}, last {} ago", seconds(self.age().saturating_sub(last))),
            _ => count,
        }
    }

    fn tried(&self, wanted: impl Fn(&super::story::BackendTry) -> bool) -> String {
        let mut tried: Vec<String> = self
            .story
            .backends
            .iter()
            .filter(|backend| wanted(backend))
            .map(|it| it.remote.to_string())
            .collect();
        tried.dedup();
        match tried.len() {
            0 => "any of its addresses".to_owned(),
            1..=3 => tried.join(", "),
            more => format!("{} and {} more", tried[..3].join(", "), more - 3),
        }
    }
}

/// Share of packets lost lately, over all streams of a direction.
pub fn loss(streams: &[StreamReport]) -> f64 {
    let weight = |stream: &StreamReport| stream.recent_bps as f64;
    let total: f64 = streams.iter().map(weight).sum();
    let lost: f64 = streams.iter().map(|stream| stream.recent_loss * weight(stream)).sum();
    if total > 0.0 { lost / total } else { 0.0 }
}

fn client(text: String) -> Diagnosis {
    Diagnosis { side: Side::Client, text }
}

fn backend(text: String) -> Diagnosis {
    Diagnosis { side: Side::Backend, text }
}

fn edge(text: String) -> Diagnosis {
    Diagnosis { side: Side::Edge, text }
}

fn underway(text: String) -> Diagnosis {
    Diagnosis { side: Side::Underway, text }
}

fn nobody(text: String) -> Diagnosis {
    Diagnosis { side: Side::Nobody, text }
}

fn seconds(millis: u32) -> String {
    match millis {
        0..10_000 => format!("{:.1} s", f64::from(millis) / 1000.0),
        _ => format!("{} s", millis / 1000),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Who is to blame for an alert: whoever sent a certificate that the other one refuses, else whoever sends it.
fn alert_side(alert: u8, sender: Side) -> Side {
    match (alert, sender) {
        (42..=46 | 48 | 49 | 51, Side::Client) => Side::Backend,
        (42..=46 | 48 | 49 | 51, Side::Backend) => Side::Client,
        _ => sender,
    }
}

/// RFC 8446 §6, those that are met in practice.
fn alert_name(alert: u8) -> String {
    let name = match alert {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate, which mostly means a wrong a=fingerprint",
        43 => "unsupported_certificate",
        45 => "certificate_expired",
        46 => "certificate_unknown, which mostly means a wrong a=fingerprint",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        _ => "of an unusual kind",
    };
    format!("{alert} ({name})")
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
