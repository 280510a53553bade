//! Every session by name: those that run, and the latest that ended, with all that was known of them, so that a failed call
//! can be explained afterwards. Signalling and session events write here, never a packet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::session::registration::{
    EndReason, Owner, Registration, SessionEvent, SessionEventKind, SessionId,
};
use crate::session::story::Story;
use crate::telemetry::metrics::{Family, Histogram, Kind, MetricSource, Sample};

/// Ended sessions that are kept: with all their streams about 3 KiB each.
const ENDED: usize = 1000;
/// Seconds from registration to both legs up.
const CONNECT_BOUNDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The directory.
#[derive(Debug)]
pub struct Directory(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    next: u64,
    running: HashMap<SessionId, Running>,
    /// By age, oldest first.
    order: BTreeMap<u64, SessionId>,
    /// Latest last.
    ended: VecDeque<Arc<Ended>>,
    connect_seconds: Histogram,
    connected: u64,
    restarted: u64,
    migrated: u64,
    ends: [u64; EndReason::ALL.len()],
}

/// A session that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) id: SessionId,
    pub(super) serial: u64,
    pub(super) owner: Arc<Owner>,
    pub(super) registered: SystemTime,
}

/// A session that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) story: Story,
    pub(super) reason: EndReason,
    pub(super) lasted: Duration,
    pub(super) at: SystemTime,
}

/// A page of sessions.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// Where the next page starts.
    pub(super) next: Option<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Directory(Mutex::new(Inner {
            next: 1,
            running: HashMap::new(),
            order: BTreeMap::new(),
            ended: VecDeque::new(),
            connect_seconds: Histogram::new(CONNECT_BOUNDS),
            connected: 0,
            restarted: 0,
            migrated: 0,
            ends: [0; EndReason::ALL.len()],
        }))
    }
}

impl Directory {
    /// A session was registered, or a new generation of one.
    pub fn registered(&self, registration: &Registration) {
        let mut inner = self.lock();
        let id = registration.session;
        if inner.running.contains_key(&id) {
            inner.restarted += u64::from(registration.generation > 0);
            return;
        }
        let serial = inner.next;
        inner.next += 1;
        inner.order.insert(serial, id);
        let owner = registration.owner.clone();
        inner.running.insert(id, Running { id, serial, owner, registered: SystemTime::now() });
    }

    /// Something happened to a session.
    pub fn event(&self, event: &SessionEvent) {
        let mut inner = self.lock();
        match &event.kind {
            SessionEventKind::ClientSeen { .. } => {}
            SessionEventKind::Connected { took, generation: 0, .. } => {
                inner.connected += 1;
                inner.connect_seconds.observe(took.as_secs_f64());
            }
            SessionEventKind::Connected { .. } => {}
            SessionEventKind::Migrated { .. } => inner.migrated += 1,
            SessionEventKind::Ended { reason, lasted, story, .. } => {
                inner.ends[*reason as usize] += 1;
                inner.end(event.session, *reason, *lasted, story.as_deref());
            }
        }
    }

    pub(super) fn running(&self, id: SessionId) -> Option<Running> {
        self.lock().running.get(&id).cloned()
    }

    pub(super) fn ended(&self, id: SessionId) -> Option<Arc<Ended>> {
        self.lock().ended.iter().rev().find(|ended| ended.story.session == id).cloned()
    }

    /// How many run, and how many of those that ended are known.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.running.len(), inner.ended.len())
    }

    /// The newest running sessions that are older than `before`.
    pub(super) fn page(&self, before: u64, limit: usize) -> Page<Running> {
        let inner = self.lock();
        let ids = inner.order.range(..before).rev().take(limit);
        let entries: Vec<_> = ids.filter_map(|(_, id)| inner.running.get(id).cloned()).collect();
        let oldest = entries.last().map(|last| last.serial);
        let next = oldest.filter(|oldest| inner.order.range(..*oldest).next().is_some());
        Page { entries, next }
    }

    /// The same of ended sessions, by when they ended.
    pub(super) fn ended_page(&self, skip: u64, limit: usize) -> Page<Arc<Ended>> {
        let inner = self.lock();
        let from = usize::try_from(skip).unwrap_or(usize::MAX);
        let entries: Vec<_> = inner.ended.iter().rev().skip(from).take(limit).cloned().collect();
        let seen = from.saturating_add(entries.len());
        Page { entries, next: (seen < inner.ended.len()).then_some(seen as u64) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, id: SessionId, reason: EndReason, lasted: Duration, story: Option<&Story>) {
        if let Some(running) = self.running.remove(&id) {
            self.order.remove(&running.serial);
        }
        let Some(story) = story else { return };
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
        }
        let ended = Ended { story: story.clone(), reason, lasted, at: SystemTime::now() };
        self.ended.push_back(Arc::new(ended));
    }
}

impl MetricSource for Directory {
    fn families(&self) -> Vec<Family> {
        let inner = self.lock();
        let single = |name, help, count: u64| Family::single(name, help, Kind::Counter, count as f64);
        let ends = EndReason::ALL
            .iter()
            .map(|reason| Sample::new([("reason", reason.label())], inner.ends[*reason as usize] as f64));
        vec![
            single("xrtc_sessions_registered_total", "Sessions that signalling registered.", inner.next - 1),
            single("xrtc_sessions_connected_total", "Sessions whose both legs came up.", inner.connected),
            single("xrtc_ice_restarts_total", "ICE restarts that signalling registered.", inner.restarted),
            single(
                "xrtc_migrations_total",
                "Times that media to a client moved to another address of it.",
                inner.migrated,
            ),
            Family::of("xrtc_sessions_ended_total", "Sessions that ended, by reason.", Kind::Counter, ends),
            inner.connect_seconds.family(
                "xrtc_session_connect_seconds",
                "Time from the registration of a session until both its legs were up.",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::registration::{Credentials, Mode, Origin, Role, Traffic};

    fn registration(id: u64, generation: u32) -> Registration {
        let credentials = Credentials { ufrag: "u".into(), pwd: "p".into() };
        Registration {
            session: SessionId(id),
            generation,
            mode: Mode::HalfProxy,
            edge: credentials.clone(),
            client: credentials.clone(),
            backend: credentials,
            role: Role::Controlling,
            prefer_tcp: false,
            candidates: Vec::new(),
            origin: Arc::new(Origin { route: "janus".into(), label: "x".into() }),
            owner: Arc::new(Owner::nobody()),
        }
    }

    fn end(directory: &Directory, id: u64) {
        let registration = registration(id, 0);
        let now = std::time::Instant::now();
        let story = crate::forward::story_without_client(&registration, now, now);
        directory.event(&SessionEvent {
            session: SessionId(id),
            origin: registration.origin.clone(),
            kind: SessionEventKind::Ended {
                reason: EndReason::Hangup,
                traffic: Traffic::default(),
                lasted: Duration::from_secs(1),
                story: Some(Box::new(story)),
            },
        });
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest() {
        let directory = Directory::default();
        for id in 0..10 {
            directory.registered(&registration(id, 0));
        }
        let ids = |page: &Page<Running>| page.entries.iter().map(|it| it.id.0).collect::<Vec<_>>();
        let first = directory.page(u64::MAX, 4);
        assert_eq!(ids(&first), [9, 8, 7, 6]);
        let second = directory.page(first.next.unwrap(), 4);
        assert_eq!(ids(&second), [5, 4, 3, 2]);
        let third = directory.page(second.next.unwrap(), 4);
        assert_eq!((ids(&third), third.next), (vec![1, 0], None));
    }

    #[test]
    fn ended_sessions_are_kept_up_to_a_bound_and_running_ones_forgotten() {
        let directory = Directory::default();
        for id in 0..ENDED as u64 + 5 {
            directory.registered(&registration(id, 0));
            end(&directory, id);
        }
        assert_eq!(directory.counts(), (0, ENDED));
        assert!(directory.ended(SessionId(4)).is_none());
        assert!(directory.ended(SessionId(5)).is_some());
        let page = directory.ended_page(0, 2);
        assert_eq!(page.entries[0].story.session, SessionId(ENDED as u64 + 4));
        assert_eq!(page.next, Some(2));
        assert_eq!(directory.ended_page(u64::MAX, 2).entries.len(), 0);
    }

    #[test]
    fn a_restart_is_no_new_session() {
        let directory = Directory::default();
        for generation in 0..3 {
            directory.registered(&registration(1, generation));
        }
        assert_eq!(directory.counts(), (1, 0));
        let families = directory.families();
        let value = |name| families.iter().find(|it| it.name == name).unwrap().samples[0].value;
        assert_eq!((value("xrtc_sessions_registered_total"), value("xrtc_ice_restarts_total")), (1.0, 2.0));
    }
}
