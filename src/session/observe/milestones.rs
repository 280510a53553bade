//! \[pure\] The steps on a session's way, each with its first and last time and how often it happened.

macro_rules! milestones {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// A step on a session's way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Milestone { $($(#[doc = $doc])+ $variant,)+ }

        impl Milestone {
            /// All of them, in the order of their index.
            pub const ALL: &'static [Milestone] = &[$(Milestone::$variant,)+];

            /// Stable snake-case name.
            pub fn label(self) -> &'static str {
                match self { $(Milestone::$variant => $label,)+ }
            }
        }
    };
}

milestones! {
    /// A check of the client whose MESSAGE-INTEGRITY does not fit the session that its USERNAME names.
    BadIntegrity = "client_check_bad_integrity",
    /// A valid check of the client.
    ClientCheck = "client_check",
    /// A valid check that was answered with an error: wrong role, or an attribute that must be known.
    ClientCheckRefused = "client_check_refused",
    /// A valid check with USE-CANDIDATE.
    ClientNominated = "client_nominated",
    /// A check that was seen before, from another address.
    Replayed = "client_check_replayed",
    /// The edge checks another address of the client.
    Probe = "edge_check_sent_to_client",
    /// The client answered such a check.
    ProbeAnswered = "edge_check_answered_by_client",
    /// A check or an answer went to the backend.
    BackendSent = "check_sent_to_backend",
    /// Authenticated STUN came from the backend.
    BackendStun = "stun_from_backend",
    /// STUN of the backend that fits none of the session's credentials.
    BackendRejected = "stun_from_backend_rejected",
    /// A pair towards the backend is nominated.
    BackendNominated = "backend_nominated",
    /// Both legs are validated.
    Connected = "connected",
    /// DTLS ClientHello of the client.
    ClientHelloUp = "dtls_client_hello_from_client",
    /// DTLS ServerHello of the backend.
    ServerHelloDown = "dtls_server_hello_from_backend",
    /// DTLS ClientHello of the backend.
    ClientHelloDown = "dtls_client_hello_from_backend",
    /// DTLS ServerHello of the client.
    ServerHelloUp = "dtls_server_hello_from_client",
    /// A DTLS alert of the client, in the clear.
    AlertUp = "dtls_alert_from_client",
    /// A DTLS alert of the backend, in the clear.
    AlertDown = "dtls_alert_from_backend",
    /// Other DTLS of the client.
    DtlsUp = "dtls_from_client",
    /// Other DTLS of the backend.
    DtlsDown = "dtls_from_backend",
    /// RTP or RTCP of the client.
    MediaUp = "media_from_client",
    /// RTP or RTCP of the backend.
    MediaDown = "media_from_backend",
    /// DTLS or media of the client, dropped: the backend leg had no path.
    EarlyUp = "client_before_backend_was_ready",
    /// The same of the backend: the client leg had no path.
    EarlyDown = "backend_before_client_was_ready",
    /// DTLS or media of a client address that has not answered the edge's check.
    UnprovenUp = "media_from_unproven_client_address",
    /// Media to the client moved to another address.
    Roamed = "client_roamed",
    /// An ICE restart was signalled.
    Restarted = "ice_restart",
    /// No socket or connection towards a backend candidate could be opened.
    BackendRefused = "backend_not_reachable",
}

/// First and last time, in milliseconds since the session was registered, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    first: u32,
    last: u32,
    count: u32,
}

impl Mark {
    /// The first time; `None`: it never happened.
    pub fn first(&self) -> Option<u32> {
        (self.count > 0).then_some(self.first)
    }

    /// The last time.
    pub fn last(&self) -> Option<u32> {
        (self.count > 0).then_some(self.last)
    }

    /// How often; stops at the largest number.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A mark of what was counted elsewhere.
    pub fn of(first: u32, last: u32, count: u32) -> Self {
        Mark { first, last, count }
    }

    #[inline]
    fn hit(&mut self, at: u32) {
        if self.count == 0 {
            self.first = at;
        }
        self.last = at;
        self.count = self.count.saturating_add(1);
    }
}

/// A mark for every milestone. Those that every packet of media hits come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Milestones([Mark; COUNT]);

const COUNT: usize = Milestone::ALL.len();

#[inline]
fn place(milestone: Milestone) -> usize {
    (milestone as usize + COUNT - Milestone::MediaUp as usize) % COUNT
}

impl Milestones {
    /// It happened, `at` milliseconds after the registration.
    #[inline]
    pub fn note(&mut self, at: u32, milestone: Milestone) {
        self.0[place(milestone)].hit(at);
    }

    /// When and how often it happened.
    pub fn get(&self, milestone: Milestone) -> Mark {
        self.0[place(milestone)]
    }

    /// Puts in what was counted elsewhere.
    pub fn set(&mut self, milestone: Milestone, mark: Mark) {
        self.0[place(milestone)] = mark;
    }

    /// Whether it happened.
    pub fn has(&self, milestone: Milestone) -> bool {
        self.get(milestone).count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_keeps_the_first_and_the_last_time() {
        let mut milestones = Milestones::default();
        for at in [0, 3, 9] {
            milestones.note(at, Milestone::ClientCheck);
        }
        assert_eq!(milestones.get(Milestone::ClientCheck), Mark::of(0, 9, 3));
        assert_eq!(milestones.get(Milestone::Connected).first(), None);
    }

    #[test]
    fn media_comes_first_and_every_milestone_has_its_place() {
        assert_eq!((place(Milestone::MediaUp), place(Milestone::MediaDown)), (0, 1));
        let mut places: Vec<_> = Milestone::ALL.iter().map(|milestone| place(*milestone)).collect();
        places.sort_unstable();
        assert_eq!(places, (0..COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn labels_are_unique_and_in_snake_case() {
        let mut labels: Vec<_> = Milestone::ALL.iter().map(|milestone| milestone.label()).collect();
        assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Milestone::ALL.len());
    }
}
