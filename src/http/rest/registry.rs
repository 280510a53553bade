//! \[pure\] Which pairs of ufrags are registered, from where, and how often that is allowed (xrtc.md §5.2).
//!
//! A pair is one session while nobody has connected: registering it again changes and refreshes it. Once a client is
//! connected it changes nothing. The table forgets a pair when the packet side says that its session ended.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decide::Wanted;
use super::refusal::Refusal;
use crate::session::registration::{Command, EndReason, Mode, Origin, Owner, Registration, Role, SessionId};

/// A registration that old may time out at this moment (30 s, xrtc.md §8) while a refresh is on its way to the workers,
/// and the news of its end would then take the refreshed one along. So a new session takes its place.
const STALE: Duration = Duration::from_secs(25);

/// The pairs of all HTTP services.
#[derive(Debug)]
pub(super) struct Registry {
    route: Arc<str>,
    limits: Limits,
    /// By `<answer ufrag>:<offer ufrag>`, which the callers choose.
    sessions_by_pair: HashMap<Arc<str>, Registered>,
    pairs_by_session: HashMap<SessionId, Arc<str>>,
    /// How many of the sessions each client made.
    counts_by_client: HashMap<Client, usize>,
}

/// How much may be registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    pub(super) per_client: usize,
}

#[derive(Debug)]
struct Registered {
    session: SessionId,
    owner: Arc<Owner>,
    /// When it was registered or refreshed the last time.
    refreshed: Instant,
    client: Client,
}

/// Who is counted as one client: an IPv4 address, or a /64, of which one machine may use every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl Client {
    fn of(ip: IpAddr) -> Self {
        const SITE: u128 = !0 << 64;
        Client(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & SITE).into(),
            v4 => v4,
        })
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Registry {
            route: Arc::from("rest"),
            limits,
            sessions_by_pair: HashMap::new(),
            pairs_by_session: HashMap::new(),
            counts_by_client: HashMap::new(),
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes `wanted` and says what the packet side must be told, in this order. `fresh` names the session if there has to
    /// be a new one; `elsewhere` is how many sessions the packet side knows, whoever registered them.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: IpAddr,
        wanted: Wanted,
        fresh: SessionId,
        elsewhere: usize,
    ) -> Result<Vec<Command>, Refusal> {
        let Some(known) = self.sessions_by_pair.get_mut(&*wanted.pair) else {
            return self.add(now, from, wanted, fresh, elsewhere);
        };
        if known.owner.get().is_some() {
            return Ok(Vec::new());
        }
        let old = known.session;
        let is_stale = now.saturating_duration_since(known.refreshed) >= STALE;
        known.refreshed = now;
        if !is_stale {
            let again = registration(&self.route, wanted, old, known.owner.clone());
            return Ok(vec![Command::Register(again)]);
        }
        (known.session, known.owner) = (fresh, Arc::new(Owner::nobody()));
        let again = registration(&self.route, wanted, fresh, known.owner.clone());
        if let Some(pair) = self.pairs_by_session.remove(&old) {
            self.pairs_by_session.insert(fresh, pair);
        }
        Ok(vec![Command::End(old, EndReason::Replaced), Command::Register(again)])
    }

    /// Forgets the pair of a session, so that it can be registered afresh.
    pub(super) fn ended(&mut self, session: SessionId) {
        let Some(pair) = self.pairs_by_session.remove(&session) else { return };
        let Some(gone) = self.sessions_by_pair.remove(&pair) else { return };
        if let Entry::Occupied(mut count) = self.counts_by_client.entry(gone.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn add(
        &mut self,
        now: Instant,
        from: IpAddr,
        wanted: Wanted,
        session: SessionId,
        elsewhere: usize,
    ) -> Result<Vec<Command>, Refusal> {
        let client = Client::of(from);
        if self.sessions_by_pair.len().max(elsewhere) >= self.limits.sessions {
            return Err(Refusal::TooMany);
        }
        if self.counts_by_client.get(&client).is_some_and(|count| *count >= self.limits.per_client) {
            return Err(Refusal::TooManyOfClient);
        }
        *self.counts_by_client.entry(client).or_default() += 1;
        let pair: Arc<str> = Arc::from(&*wanted.pair);
        let owner = Arc::new(Owner::nobody());
        self.pairs_by_session.insert(session, pair.clone());
        self.sessions_by_pair
            .insert(pair, Registered { session, owner: owner.clone(), refreshed: now, client });
        Ok(vec![Command::Register(registration(&self.route, wanted, session, owner))])
    }
}

fn registration(
    route: &Arc<str>,
    wanted: Wanted,
    session: SessionId,
    owner: Arc<Owner>,
) -> Arc<Registration> {
    Arc::new(Registration {
        session,
        generation: 0,
        mode: Mode::Transparent,
        edge: wanted.backend.clone(),
        client: wanted.client,
        backend: wanted.backend,
        // The edge makes no checks of its own here.
        role: Role::Controlling,
        prefer_tcp: false,
        candidates: wanted.candidates,
        origin: Arc::new(Origin { route: route.clone(), label: wanted.label }),
        owner,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::registration::Credentials;

    const HOME: &str = "192.0.2.7";

    struct World {
        registry: Registry,
        now: Instant,
        next: u64,
    }

    impl World {
        fn new(sessions: usize, per_client: usize) -> Self {
            let registry = Registry::new(Limits { sessions, per_client });
            World { registry, now: Instant::now(), next: 0 }
        }

        fn ask(&mut self, from: &str, pair: &str, pwd: &str) -> Result<Vec<Command>, Refusal> {
            self.next += 1;
            let (answer, offer) = pair.split_once(':').unwrap();
            let credentials = |ufrag: &str| Credentials { ufrag: Arc::from(ufrag), pwd: Arc::from(pwd) };
            let wanted = Wanted {
                pair: pair.into(),
                client: credentials(offer),
                backend: credentials(answer),
                candidates: Vec::new(),
                label: "x".into(),
            };
            self.registry.admit(self.now, from.parse().unwrap(), wanted, SessionId(self.next), 0)
        }

        fn register(&mut self, pair: &str, pwd: &str) -> Arc<Registration> {
            match self.ask(HOME, pair, pwd).unwrap().as_slice() {
                [.., Command::Register(registration)] => registration.clone(),
                other => panic!("expected a registration, found {other:?}"),
            }
        }
    }

    #[test]
    fn a_session_is_transparent_and_speaks_as_the_backend() {
        let registration = World::new(10, 10).register("a:o", "p");
        assert_eq!((registration.mode, registration.generation), (Mode::Transparent, 0));
        assert_eq!((&*registration.edge.ufrag, &*registration.backend.ufrag), ("a", "a"));
        assert_eq!((&*registration.client.ufrag, &*registration.origin.route), ("o", "rest"));
    }

    #[test]
    fn a_pair_that_nobody_uses_yet_keeps_its_session_and_the_last_one_wins() {
        let mut world = World::new(10, 10);
        let first = world.register("a:o", "p");
        world.now += STALE / 2;
        let second = world.register("a:o", "q");
        assert_eq!(second.session, first.session);
        assert!(Arc::ptr_eq(&first.owner, &second.owner));
        assert_eq!(&*second.backend.pwd, "q");
        // It was refreshed in between.
        world.now += STALE / 2;
        assert_eq!(world.register("a:o", "r").session, first.session);
    }

    #[test]
    fn a_pair_about_to_time_out_gets_a_new_session_that_the_end_of_the_old_one_does_not_reach() {
        let mut world = World::new(10, 10);
        let first = world.register("a:o", "p");
        world.now += STALE;
        let commands = world.ask(HOME, "a:o", "p").unwrap();
        let [Command::End(ended, EndReason::Replaced), Command::Register(second)] = commands.as_slice()
        else {
            panic!("expected an end and a registration, found {commands:?}")
        };
        assert_eq!(*ended, first.session);
        assert_ne!(second.session, first.session);
        world.registry.ended(first.session);
        assert_eq!(world.register("a:o", "p").session, second.session);
        world.registry.ended(second.session);
        assert!(world.registry.counts_by_client.is_empty() && world.registry.sessions_by_pair.is_empty());
    }

    #[test]
    fn a_running_session_is_not_changed_and_its_pair_is_free_after_its_end() {
        let mut world = World::new(10, 10);
        let first = world.register("a:o", "p");
        first.owner.claim(1);
        world.now += STALE * 4;
        assert!(world.ask(HOME, "a:o", "q").unwrap().is_empty());
        world.registry.ended(first.session);
        world.registry.ended(first.session);
        let second = world.register("a:o", "p");
        assert_ne!(second.session, first.session);
        assert_eq!(second.owner.get(), None);
    }

    #[test]
    fn each_client_and_all_together_have_a_limit_that_refreshing_does_not_reach() {
        let mut world = World::new(3, 2);
        let first = world.register("a:1", "p");
        world.register("a:2", "p");
        world.register("a:2", "p");
        assert_eq!(world.ask(HOME, "a:3", "p").unwrap_err(), Refusal::TooManyOfClient);
        assert!(world.ask("192.0.2.8", "a:3", "p").is_ok());
        assert_eq!(world.ask("192.0.2.9", "a:4", "p").unwrap_err(), Refusal::TooMany);
        world.registry.ended(first.session);
        assert!(world.ask(HOME, "a:4", "p").is_ok());
    }

    #[test]
    fn sessions_of_others_count_towards_all_together() {
        let mut world = World::new(3, 3);
        let registered = world.register("a:1", "p");
        let wanted = Wanted {
            pair: "a:2".into(),
            client: registered.client.clone(),
            backend: registered.backend.clone(),
            candidates: Vec::new(),
            label: "x".into(),
        };
        let refused = world.registry.admit(world.now, HOME.parse().unwrap(), wanted, SessionId(9), 3);
        assert_eq!(refused.unwrap_err(), Refusal::TooMany);
    }

    #[test]
    fn one_ipv6_site_is_one_client_and_a_mapped_address_is_ipv4() {
        let mut world = World::new(10, 1);
        assert!(world.ask("2001:db8::1", "a:1", "p").is_ok());
        assert!(world.ask("2001:db8::ffff:2", "a:2", "p").is_err());
        assert!(world.ask("2001:db8:0:1::1", "a:3", "p").is_ok());
        assert!(world.ask("192.0.2.1", "a:4", "p").is_ok());
        assert!(world.ask("::ffff:192.0.2.1", "a:5", "p").is_err());
    }
}
