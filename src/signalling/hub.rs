//! \[shell\] The rooms of one route: brings its protocol time and randomness, carries out its effects, and counts.
//!
//! One lock for all rooms of a route: a call takes microseconds, and effects are carried out under it, so that what is sent
//! keeps the order of the states it comes from. Nothing in here waits: queues are bounded, and who fills his is given up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, info};

use super::bearers::Bearers;
use super::counters::{Counters, Direction};
use super::link::{Link, MediaServer};
use super::outbox::{End, Outbox};
use super::protocol::{
    Answer, Context, Departure, Effect, FromServer, Input, Keepalive, Knock, LinkKey, PeerKey, Protocol,
    Question, Refusal, Room, ServerEvent, Size,
};
use super::told::Told;
use super::{blueprints, gst, live, webrtc_server, webrtcsink};
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
    /// Where routed rooms have their media.
    media_server: ArcSwapOption<Box<dyn MediaServer>>,
    /// For what comes back later.
    itself: Weak<Hub>,
}

/// What a reload replaces.
pub(super) struct Settings {
    config: Signalling,
    keepalive: Keepalive,
    auth: Option<Store>,
    bearers: Option<Bearers>,
    told: Told,
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
        let settings = self.settings.load_full();
        match question {
            Question::Login { username, password, room, client } => {
                let is_valid = match &settings.auth {
                    Some(store) => is_login(store, &username, &password, &room, client).await,
                    None => false,
                };
                Answer::Login { username, is_valid }
            }
            Question::Bearer { bearer, room, client } => {
                let user = match &settings.bearers {
                    Some(bearers) => bearers.user(&bearer, &room, client).await,
                    None => None,
                };
                Answer::Bearer { user }
            }
        }
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

    /// Closes somebody's connection; false: there is no such connection.
    pub(super) fn remove(&self, peer: PeerKey) -> bool {
        let Some(outbox) = self.lock().outboxes.get(&peer).cloned() else { return false };
        outbox.close(End { code: 1008, reason: "removed by the operator".into() });
        self.depart(peer, Departure::Closed);
        true
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

/// Carries out effects.
struct Work<'a> {
    settings: &'a Settings,
    hub: &'a Hub,
    outboxes: &'a mut HashMap<PeerKey, Arc<Outbox>>,
    links: &'a mut HashMap<LinkKey, Link>,
    /// Whom the call was about.
    from: Option<PeerKey>,
    /// Closed, and the protocol does not know yet.
    gone: Vec<(PeerKey, Departure)>,
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
                        self.gone.push((peer, Departure::Closed));
                    }
                }
                Effect::CutOff(peer, code, reason) => {
                    if let Some(outbox) = self.outboxes.remove(&peer) {
                        let unsent = outbox.unsent();
                        outbox.cut(End { code, reason });
                        self.gone.push((peer, Departure::Lost(unsent)));
                    }
                }
                Effect::Deadline(deadline) => {
                    if let Some(outbox) = self.from.and_then(|from| self.outboxes.get(&from)) {
                        outbox.set_deadline(deadline);
                    }
                }
                Effect::Ask(question) => self.question = Some(question),
                Effect::Tell(notice) => self.settings.told.tell(notice),
                Effect::Dial(link, room) => self.dial(link, &room),
                Effect::ToServer(link, text) => {
                    // A server that takes nothing is given up; the protocol hears of it when the link has ended.
                    if self.links.get(&link).is_some_and(|open| !open.say(text)) {
                        self.links.remove(&link);
                    }
                }
                Effect::HangUp(link) => drop(self.links.remove(&link)),
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
        self.gone.push((to, Departure::Closed));
    }

    fn dial(&mut self, key: LinkKey, room: &str) {
        let server = self.hub.media_server.load_full();
        let server = server.as_ref().map(|server| &***server);
        self.links.insert(key, Link::begin(self.hub.itself.clone(), key, server, room));
    }
}

impl Settings {
    /// Who is told stays the same unless the rules say something else: what waits for them is not lost.
    fn new(
        config: &Signalling,
        keepalive: Keepalive,
        counters: &Arc<Counters>,
        former: Option<&Settings>,
    ) -> Result<Self, RoomsError> {
        let auth = match &config.rules {
            RoomRules::WebrtcServer(rules) => Some(Store::new(&rules.auth).map_err(RoomsError::Auth)?),
            _ => None,
        };
        let bearers = match &config.rules {
            RoomRules::Live(rules) => rules.auth.webhook.as_ref().map(Bearers::new).transpose(),
            _ => Ok(None),
        };
        let told = match former.filter(|former| Told::is_same(&former.config.rules, &config.rules)) {
            Some(former) => former.told.clone(),
            None => Told::new(&config.rules, counters).map_err(RoomsError::Hooks)?,
        };
        Ok(Settings {
            config: config.clone(),
            keepalive,
            auth,
            bearers: bearers.map_err(RoomsError::Auth)?,
            told,
        })
    }
}

fn protocol(config: &Signalling) -> Box<dyn Protocol> {
    let limits = &config.limits;
    match &config.rules {
        RoomRules::WebrtcServer(rules) => Box::new(webrtc_server::WebrtcServer::new(rules, limits)),
        RoomRules::Blueprints(rules) => Box::new(blueprints::Blueprints::new(rules, limits)),
        RoomRules::Gst(rules) => Box::new(gst::Gst::new(rules, limits)),
        RoomRules::Webrtcsink(rules) => Box::new(webrtcsink::Webrtcsink::new(rules, limits)),
        RoomRules::Live(rules) => Box::new(live::Live::new(rules, limits)),
    }
}

async fn is_login(store: &Store, username: &str, password: &str, room: &str, client: IpAddr) -> bool {
    let query = Query { username, purpose: Purpose::Signalling, room: Some(room), remote: client };
    store.login(&query, password).await.is_ok()
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
