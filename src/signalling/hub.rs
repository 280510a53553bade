//! \[shell\] The rooms of one route: brings its protocol time and randomness, carries out its effects, and counts.
//!
//! One lock for all rooms of a route: a call takes microseconds, and effects are carried out under it, so that what is sent
//! keeps the order of the states it comes from. Nothing in here waits: queues are bounded, and who fills his is given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, info};

use super::counters::{Counters, Direction};
use super::hooks::Hooks;
use super::outbox::{End, Outbox};
use super::protocol::{
    Answer, Context, Departure, Effect, Input, Keepalive, Knock, PeerKey, Protocol, Question, Refusal, Room,
    ServerEvent, Size,
};
use super::{blueprints, gst, webrtc_server, webrtcsink};
use crate::auth::{Purpose, Query, Store, WebhookError};
use crate::budget::{Rate, Sources};
use crate::config::{RoomLimits, RoomRules, Signalling};
use crate::ws_frame::Message;

/// Client addresses whose connections per second are remembered, at 16 bytes each.
const SOURCES: usize = 4096;

/// Messages that may wait before a ping, or the answer to one, is too much.
const CONTROLS: usize = 10_000;

/// Why rooms cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// The webhook of `auth`.
    #[error("signalling.auth: {0}")]
    Auth(WebhookError),
    /// The webhook for joins and leaves.
    #[error("signalling.webhook: {0}")]
    Hooks(WebhookError),
}

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
}

/// What a reload replaces.
pub(super) struct Settings {
    config: Signalling,
    keepalive: Keepalive,
    auth: Option<Store>,
    hooks: Option<Hooks>,
}

struct Core {
    protocol: Box<dyn Protocol>,
    /// Of everybody who is there for the protocol.
    outboxes: HashMap<PeerKey, Arc<Outbox>>,
    /// Reused from call to call.
    effects: Vec<Effect>,
}

impl Hub {
    pub(super) fn new(
        place: (Arc<str>, Arc<str>),
        config: &Signalling,
        counters: Arc<Counters>,
        next_peer: Arc<AtomicU64>,
    ) -> Result<Self, RoomsError> {
        let protocol = protocol(config);
        let settings = Settings::new(config, protocol.keepalive(), &counters)?;
        Ok(Hub {
            place,
            protocol: config.rules.name(),
            core: Mutex::new(Core { protocol, outboxes: HashMap::new(), effects: Vec::new() }),
            connects: Mutex::new(connects(&config.limits)),
            settings: ArcSwap::from_pointee(settings),
            counters,
            next_peer,
        })
    }

    /// What another configuration of the same protocol means; `None`: it is the same.
    pub(super) fn plan(&self, config: &Signalling) -> Result<Option<Arc<Settings>>, RoomsError> {
        if self.settings.load().config == *config {
            return Ok(None);
        }
        let keepalive = protocol(config).keepalive();
        Ok(Some(Arc::new(Settings::new(config, keepalive, &self.counters)?)))
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
        let Question::Login { username, password, room, client } = question;
        let query =
            Query { username: &username, purpose: Purpose::Signalling, room: Some(&room), remote: client };
        let auth = self.settings.load().auth.clone();
        let is_valid = match &auth {
            Some(store) => store.login(&query, &password).await.is_ok(),
            None => false,
        };
        Answer::Login { username, is_valid }
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

    /// Closes somebody's connection; false: there is no such connection.
    pub(super) fn remove(&self, peer: PeerKey) -> bool {
        let Some(outbox) = self.lock().outboxes.get(&peer).cloned() else { return false };
        outbox.close(End { code: 1008, reason: "removed by the operator".into() });
        self.depart(peer, Departure::Closed);
        true
    }

    /// Waits until notices are delivered.
    pub(super) async fn settle(&self) {
        let hooks = self.settings.load().hooks.clone();
        if let Some(hooks) = hooks {
            hooks.settle().await;
        }
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
        let Core { protocol, outboxes, effects } = core;
        let mut work =
            Work { settings: &settings, hub: self, outboxes, from, gone: Vec::new(), question: None };
        let mut random = |bytes: &mut [u8]| rand::fill(bytes);
        call(&mut **protocol, &mut context(&mut random, effects));
        work.carry_out(effects);
        while let Some(peer) = work.gone.pop() {
            let cx = &mut context(&mut random, effects);
            protocol.handle(cx, peer, Input::Gone(Departure::Closed));
            work.carry_out(effects);
        }
        work.question
    }

    /// A protocol that panicked over one message goes on with the next: the other rooms are not at fault.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out effects.
struct Work<'a> {
    settings: &'a Settings,
    hub: &'a Hub,
    outboxes: &'a mut HashMap<PeerKey, Arc<Outbox>>,
    /// Whom the call was about.
    from: Option<PeerKey>,
    /// Closed, and the protocol does not know yet.
    gone: Vec<PeerKey>,
    question: Option<Question>,
}

impl Work<'_> {
    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(to, text) => self.send(to, Message::Text(text)),
                Effect::SendBinary(to, data) => self.send(to, Message::Binary(data)),
                Effect::Close(peer, code, reason) => {
                    if let Some(outbox) = self.outboxes.remove(&peer) {
                        outbox.close(End { code, reason });
                        self.gone.push(peer);
                    }
                }
                Effect::Deadline(deadline) => {
                    if let Some(outbox) = self.from.and_then(|from| self.outboxes.get(&from)) {
                        outbox.set_deadline(deadline);
                    }
                }
                Effect::Ask(question) => self.question = Some(question),
                Effect::Tell(notice) => {
                    if let Some(hooks) = &self.settings.hooks {
                        hooks.tell(notice);
                    }
                }
            }
        }
    }

    fn send(&mut self, to: PeerKey, message: Message) {
        let Some(outbox) = self.outboxes.get(&to) else { return };
        if outbox.push(message, self.settings.config.limits.queue).is_ok() {
            return self.hub.counters.message(Direction::Out);
        }
        info!(route = %self.hub.place.1, peer = to.0, "slow consumer is closed");
        outbox.cut(slow());
        self.outboxes.remove(&to);
        self.gone.push(to);
    }
}

impl Settings {
    fn new(config: &Signalling, keepalive: Keepalive, counters: &Arc<Counters>) -> Result<Self, RoomsError> {
        let (auth, webhook) = match &config.rules {
            RoomRules::WebrtcServer(rules) => {
                (Some(Store::new(&rules.auth).map_err(RoomsError::Auth)?), rules.webhook.as_ref())
            }
            _ => (None, None),
        };
        let hooks = webhook.map(|webhook| Hooks::new(webhook, counters.clone()));
        let hooks = hooks.transpose().map_err(RoomsError::Hooks)?;
        Ok(Settings { config: config.clone(), keepalive, auth, hooks })
    }
}

fn protocol(config: &Signalling) -> Box<dyn Protocol> {
    let limits = &config.limits;
    match &config.rules {
        RoomRules::WebrtcServer(rules) => Box::new(webrtc_server::WebrtcServer::new(rules, limits)),
        RoomRules::Blueprints(rules) => Box::new(blueprints::Blueprints::new(rules, limits)),
        RoomRules::Gst(rules) => Box::new(gst::Gst::new(rules, limits)),
        RoomRules::Webrtcsink(rules) => Box::new(webrtcsink::Webrtcsink::new(rules, limits)),
    }
}

fn connects(limits: &RoomLimits) -> Option<Sources> {
    let per_second = limits.connects?.get();
    let rate = Rate { per_second, burst: per_second };
    Some(Sources::new(rate, SOURCES, rand::random(), Instant::now().into_std()))
}

fn context<'a>(random: &'a mut dyn FnMut(&mut [u8]), effects: &'a mut Vec<Effect>) -> Context<'a> {
    Context {
        now: Instant::now().into_std(),
        unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
        random,
        effects,
    }
}

fn slow() -> End {
    End { code: 1013, reason: "too slow".into() }
}

/// A client that was let in. It is gone for the protocol when this is dropped, however that comes.
pub struct Entry {
    pub(super) hub: Arc<Hub>,
    pub(super) peer: PeerKey,
    pub(super) outbox: Arc<Outbox>,
    pub(super) keepalive: Keepalive,
    pub(super) message_limit: usize,
}

impl Entry {
    pub(super) fn push(&self, message: Message) {
        // Pings and pongs that nobody takes are no reason to wait.
        if self.outbox.push(message, CONTROLS).is_err() {
            self.hub.give_up(self.peer);
        }
    }

    pub(super) fn depart(&self, departure: Departure) {
        self.hub.depart(self.peer, departure);
    }

    pub(super) fn unsent(&self) -> Vec<Bytes> {
        self.outbox.unsent()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.hub.depart(self.peer, Departure::Lost(self.outbox.unsent()));
        self.hub.counters.ended();
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({} of {}.{})", self.protocol, self.place.0, self.place.1)
    }
}
