//! \[shell\] The rooms of one route: brings its protocol time and randomness, carries out its effects, and counts.
//!
//! One lock for all rooms of a route: a call takes microseconds, and effects are carried out under it, so that what is sent
//! keeps the order of the states it comes from. Nothing in here waits: queues are bounded, and who fills his is given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::Instant;
use tracing::debug;

use super::counters::{Counters, Direction};
use super::effects::{Work, slow};
use super::entry::Entry;
use super::link::{Link, MediaServer};
use super::outbox::{End, Outbox};
use super::protocol::{
    Answer, Context, Departure, Effect, FromServer, Input, Knock, LinkKey, PeerKey, Person, Protocol,
    Question, Refusal, Room, ServerEvent, Size,
};
use super::settings::{RoomsError, Settings, protocol};
use super::told::Told;
use crate::budget::{Rate, Sources};
use crate::config::{RoomLimits, Signalling};

/// Client addresses whose connections per second are remembered, at 16 bytes each.
const SOURCES: usize = 4096;

/// The rooms of one route.
pub struct Hub {
    /// Service and route, for the operator.
    pub(super) place: (Arc<str>, Arc<str>),
    pub(super) protocol: &'static str,
    core: Mutex<Core>,
    settings: ArcSwap<Settings>,
    /// By client address.
    connects: Mutex<Option<Sources>>,
    pub(super) counters: Arc<Counters>,
    next_peer: Arc<AtomicU64>,
    /// Where routed rooms have their media.
    media_server: ArcSwapOption<Box<dyn MediaServer>>,
    /// For what comes back later.
    itself: Weak<Hub>,
}

struct Core {
    protocol: Box<dyn Protocol>,
    /// Of everybody who is there for the protocol.
    outboxes: HashMap<PeerKey, Arc<Outbox>>,
    /// Conversations with the media server.
    links: HashMap<LinkKey, Link>,
    /// Reused from call to call.
    effects: Vec<Effect>,
}

impl Hub {
    pub(super) fn new(
        place: (Arc<str>, Arc<str>),
        config: &Signalling,
        counters: Arc<Counters>,
        next_peer: Arc<AtomicU64>,
    ) -> Result<Arc<Self>, RoomsError> {
        let protocol = protocol(config);
        let settings = Settings::new(config, protocol.keepalive(), &counters, None)?;
        let core = Core { protocol, outboxes: HashMap::new(), links: HashMap::new(), effects: Vec::new() };
        Ok(Arc::new_cyclic(|itself| Hub {
            place,
            protocol: config.rules.name(),
            core: Mutex::new(core),
            connects: Mutex::new(connects(&config.limits)),
            settings: ArcSwap::from_pointee(settings),
            counters,
            next_peer,
            media_server: ArcSwapOption::empty(),
            itself: itself.clone(),
        }))
    }

    /// Where routed rooms have their media from now on; conversations that are open go on where they are.
    pub fn set_media_server(&self, server: Option<Box<dyn MediaServer>>) {
        self.media_server.store(server.map(Arc::new));
    }

    /// What another configuration of the same protocol means; `None`: it is the same.
    pub(super) fn plan(&self, config: &Signalling) -> Result<Option<Arc<Settings>>, RoomsError> {
        if self.settings.load().config == *config {
            return Ok(None);
        }
        let keepalive = protocol(config).keepalive();
        Ok(Some(Arc::new(Settings::new(config, keepalive, &self.counters, Some(&self.settings.load()))?)))
    }

    /// Takes over what was planned; who is in stays in.
    pub(super) fn renew(&self, settings: Arc<Settings>) {
        let Signalling { rules, limits } = &settings.config;
        self.lock().protocol.renew(rules, limits);
        *self.connects.lock().unwrap_or_else(PoisonError::into_inner) = connects(limits);
        self.settings.store(settings);
    }

    /// Lets a client in, or not. The connection exists for the protocol from here on until the [`Entry`] is dropped.
    pub fn enter(self: &Arc<Self>, knock: &Knock<'_>) -> Result<Entry, Refusal> {
        let entered = self.try_enter(knock);
        if let Err(refusal) = &entered {
            self.counters.refused(*refusal);
            debug!(route = %self.place.1, client = %knock.client, reason = %refusal, "not let into rooms");
        }
        entered
    }

    fn try_enter(self: &Arc<Self>, knock: &Knock<'_>) -> Result<Entry, Refusal> {
        self.spend_connect(knock)?;
        let peer = PeerKey(self.next_peer.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::default());
        let mut refusal = Ok(());
        // Known before the protocol is asked: its greeting must find somebody.
        self.call_for(peer, Some(&outbox), |protocol, cx| refusal = protocol.open(cx, peer, knock));
        if let Err(refusal) = refusal {
            self.lock().outboxes.remove(&peer);
            return Err(refusal);
        }
        let settings = self.settings.load();
        self.counters.opened();
        Ok(Entry {
            hub: self.clone(),
            peer,
            outbox,
            keepalive: settings.keepalive,
            message_limit: settings.config.limits.message,
        })
    }

    fn spend_connect(&self, knock: &Knock<'_>) -> Result<(), Refusal> {
        let mut connects = self.connects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connects) = connects.as_mut() else { return Ok(()) };
        connects.take(Instant::now().into_std(), knock.client).map_err(|_| Refusal::TooOften)
    }

    /// What the protocol answers to a request that is no upgrade.
    pub fn page(&self, path: &str) -> Option<&'static str> {
        self.lock().protocol.page(path)
    }

    /// Hands something that happened to the protocol. A question it has is to be answered before the next message.
    pub(super) fn input(&self, peer: PeerKey, input: Input) -> Option<Question> {
        if matches!(input, Input::Text(_) | Input::Binary(_)) {
            self.counters.message(Direction::In);
        }
        self.call_for(peer, None, |protocol, cx| protocol.handle(cx, peer, input))
    }

    /// Tells the protocol once that a connection is gone.
    pub(super) fn depart(&self, peer: PeerKey, departure: Departure) {
        let mut core = self.lock();
        if core.outboxes.remove(&peer).is_some() {
            self.run(&mut core, Some(peer), |protocol, cx| protocol.handle(cx, peer, Input::Gone(departure)));
        }
    }

    /// Gives up a client that takes nothing.
    pub(super) fn give_up(&self, peer: PeerKey) {
        let outbox = self.lock().outboxes.get(&peer).cloned();
        if let Some(outbox) = outbox {
            outbox.cut(slow());
            self.depart(peer, Departure::Closed);
        }
    }

    /// Finds the answer to a question, which may take seconds.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        self.settings.load_full().answer(question).await
    }

    /// Begins a conversation with the media server.
    pub(super) fn dial(&self, key: LinkKey, room: &str) -> Link {
        let server = self.media_server.load_full();
        let server = server.as_ref().map(|server| &***server);
        Link::begin(self.itself.clone(), key, server, room)
    }

    /// The media server says something to somebody in a room.
    pub(super) fn server(&self, link: LinkKey, said: FromServer) {
        let mut core = self.lock();
        if said == FromServer::Gone {
            core.links.remove(&link);
        }
        self.run(&mut core, None, |protocol, cx| protocol.server(cx, link, said));
    }

    pub(super) fn tick(&self) {
        let mut core = self.lock();
        self.run(&mut core, None, |protocol, cx| protocol.tick(cx));
    }

    pub(super) fn size(&self) -> Size {
        self.lock().protocol.size()
    }

    pub(super) fn rooms(&self) -> Vec<Room> {
        self.lock().protocol.rooms()
    }

    pub(super) fn publish(&self, room: &str, event: &ServerEvent) -> Option<usize> {
        let mut sent = None;
        let mut core = self.lock();
        self.run(&mut core, None, |protocol, cx| sent = protocol.publish(cx, room, event));
        sent
    }

    pub(super) fn send(&self, id: &str, event: &ServerEvent) -> bool {
        let mut sent = false;
        let mut core = self.lock();
        self.run(&mut core, None, |protocol, cx| sent = protocol.send(cx, id, event));
        sent
    }

    /// Closes somebody's connection, and takes out who has none at the moment; false: there is nobody like that.
    pub(super) fn remove(&self, person: &Person) -> bool {
        let outbox = self.lock().outboxes.get(&person.key).cloned();
        let Some(outbox) = outbox else { return self.evict(&person.id) };
        outbox.close(End { code: 1008, reason: "removed by the operator".into() });
        self.depart(person.key, Departure::Closed);
        true
    }

    fn evict(&self, id: &str) -> bool {
        let mut was_there = false;
        let mut core = self.lock();
        self.run(&mut core, None, |protocol, cx| was_there = protocol.evict(cx, id));
        was_there
    }

    /// Waits until notices are delivered.
    pub(super) async fn settle(&self) {
        let told = self.settings.load().told.clone();
        told.settle().await;
    }

    /// Calls the protocol about a connection that is there, or that `newcomer` makes to be there.
    fn call_for(
        &self,
        peer: PeerKey,
        newcomer: Option<&Arc<Outbox>>,
        call: impl FnOnce(&mut dyn Protocol, &mut Context<'_>),
    ) -> Option<Question> {
        let mut core = self.lock();
        if let Some(outbox) = newcomer {
            core.outboxes.insert(peer, outbox.clone());
        }
        if !core.outboxes.contains_key(&peer) {
            return None;
        }
        self.run(&mut core, Some(peer), call)
    }

    /// Calls the protocol, then carries out what it wants, and what it wants because of that.
    fn run(
        &self,
        core: &mut Core,
        from: Option<PeerKey>,
        call: impl FnOnce(&mut dyn Protocol, &mut Context<'_>),
    ) -> Option<Question> {
        let settings = self.settings.load();
        let Core { protocol, outboxes, links, effects } = core;
        let mut work =
            Work { settings: &settings, hub: self, outboxes, links, from, gone: Vec::new(), question: None };
        let mut random = |bytes: &mut [u8]| rand::fill(bytes);
        call(&mut **protocol, &mut context(&mut random, effects, &settings.told));
        work.carry_out(effects);
        while let Some((peer, departure)) = work.gone.pop() {
            let cx = &mut context(&mut random, effects, &settings.told);
            protocol.handle(cx, peer, Input::Gone(departure));
            work.carry_out(effects);
        }
        work.question
    }

    /// A protocol that panicked over one message goes on with the next: the other rooms are not at fault.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connects(limits: &RoomLimits) -> Option<Sources> {
    let per_second = limits.connects?.get();
    let rate = Rate { per_second, burst: per_second };
    Some(Sources::new(rate, SOURCES, rand::random(), Instant::now().into_std()))
}

fn context<'a>(
    random: &'a mut dyn FnMut(&mut [u8]),
    effects: &'a mut Vec<Effect>,
    told: &Told,
) -> Context<'a> {
    Context {
        now: Instant::now().into_std(),
        unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
        random,
        effects,
        notices_are_full: told.is_full(),
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({} of {}.{})", self.protocol, self.place.0, self.place.1)
    }
}
