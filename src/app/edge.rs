//! What runs, and how it follows the file: first everything that can fail is done beside what runs, then everything is
//! exchanged at once, and last what the file no longer has is let go. Starting is the same with nothing before it.
//!
//! Sessions and connections under way keep what they have: a listener that left the file stays open as long as clients use
//! it, a service as long as it has connections, a dialect as long as a service knows it.
//!
//! A further kind of service plugs in here: something with a TCP port of the usual kind in `ports` (a further `Serves`),
//! something with sockets of its own as a [`Part`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::StartError;
use super::admin::Desk;
use super::certificates::Certificates;
use super::descriptors;
use super::journal::AnnouncingSink;
use super::parts::{self, Running};
use super::ports::{self, Port};
use super::sites::Sites;
use super::turn::Surroundings;
use crate::config::resolve::{self, Candidate};
use crate::config::{Config, Media, Service, ServiceKind};
use crate::http::{Budgets, Phase, Registrar};
use crate::listener::tcp::{Connections, StreamCounters};
use crate::listener::{Bound, ListenerIndex, PacketSide};
use crate::session::registration::{SessionEvent, SessionSink};

/// A listener that left the file is not closed before: as long as this, clients may come that were told of it. The
/// registrations of those who did not come are gone after 30 s.
const LINGER: Duration = Duration::from_secs(35);

/// What all parts are connected to, whatever the file says.
pub(super) struct World {
    pub(super) packets: PacketSide,
    pub(super) sink: Arc<dyn SessionSink>,
    pub(super) phase: watch::Sender<Phase>,
    /// True with the last phase.
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) counters: Arc<StreamCounters>,
    pub(super) connections: Arc<Connections>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) registrar: Arc<Registrar>,
    pub(super) sites: Arc<Sites>,
    pub(super) desk: Desk,
}

/// The edge as it runs.
pub(super) struct Edge {
    pub(super) world: World,
    pub(super) config: Config,
    pub(super) candidates: Vec<Candidate>,
    /// What holds of `media:` while it runs: how the process was started, but for what follows a reload.
    pub(super) media: Media,
    pub(super) ports: Vec<Port>,
    pub(super) parts: Vec<Running>,
    udp: Vec<Listener>,
    /// Those that left the file.
    leaving: Vec<Listener>,
    certificates: Certificates,
    pub(super) tasks: JoinSet<()>,
}

/// A UDP listener.
#[derive(Clone)]
struct Listener {
    service: Arc<str>,
    listen: SocketAddr,
    index: ListenerIndex,
    /// When it left the file, or else came.
    since: Instant,
}

/// A UDP listener to be.
enum PlannedListener {
    Known(Listener),
    New(Arc<str>, SocketAddr, Bound),
}

impl World {
    /// Every part that has something to tell at a scrape. A part that comes with its service adds itself.
    fn register_sources(&self) {
        let sources = &self.desk.sources;
        sources.add(Arc::new(self.packets.clone()));
        sources.add(self.counters.clone());
        sources.add(self.connections.clone());
        sources.add(self.budgets.clone());
    }
}

impl Edge {
    /// Starts everything that `config` asks for.
    pub(super) async fn start(
        config: &Config,
        candidates: &[Candidate],
        events: mpsc::UnboundedSender<SessionEvent>,
    ) -> Result<Edge, StartError> {
        let mut edge = Edge::empty(config, events)?;
        match edge.apply(config.clone(), candidates.to_vec()).await {
            Ok(()) => Ok(edge),
            Err(error) => {
                edge.world.packets.stop();
                Err(error)
            }
        }
    }

    fn empty(config: &Config, events: mpsc::UnboundedSender<SessionEvent>) -> Result<Edge, StartError> {
        let packets = PacketSide::start(&[], &[], &config.media, config.limits.sessions, events)?;
        let sites: Arc<Sites> = Arc::default();
        let asked = sites.clone();
        let desk = Desk::new(&packets, &config.limits, move || asked.servers());
        let sink: Arc<dyn SessionSink> =
            Arc::new(AnnouncingSink::new(packets.clone(), desk.directory.clone()));
        let phase = watch::Sender::new(Phase::Serving);
        let mut tasks = JoinSet::new();
        let certificates = Certificates::default();
        tasks.spawn(certificates.clone().follow(phase.subscribe()));
        desk.sources.add(Arc::new(certificates.clone()));
        let world = World {
            stopping: stopping(phase.subscribe(), &mut tasks),
            connections: Connections::new(&config.limits),
            budgets: Arc::new(Budgets::new(&config.limits)),
            registrar: Arc::new(Registrar::new(&config.limits, &resolve::lines(&[]), &sink)),
            counters: Arc::default(),
            sites,
            desk,
            packets,
            sink,
            phase,
        };
        world.register_sources();
        Ok(Edge {
            world,
            config: config.clone(),
            candidates: Vec::new(),
            media: config.media.clone(),
            ports: Vec::new(),
            parts: Vec::new(),
            udp: Vec::new(),
            leaving: Vec::new(),
            certificates,
            tasks,
        })
    }

    /// Makes the edge what `config` asks for. After an error it is what it was.
    pub(super) async fn apply(
        &mut self,
        config: Config,
        candidates: Vec<Candidate>,
    ) -> Result<(), StartError> {
        descriptors::make_room(&config);
        let lines = resolve::lines(&candidates);
        self.world.registrar.forget_databases();
        let listeners = self.plan_listeners(&config)?;
        let ports = ports::plan(self, &config, &lines).await?;
        let media = self.media.followed_by(&config.media);
        let around =
            Surroundings { world: &self.world, config: &config, candidates: &candidates, media: &media };
        let parts = parts::plan(&self.parts, around)?;

        // From here on nothing fails, and nothing waits.
        let World { packets, connections, budgets, registrar, .. } = &self.world;
        packets.set_limits(&config.limits);
        self.media = media;
        packets.set_media(&self.media);
        connections.set_limits(&config.limits);
        budgets.set_limits(&config.limits);
        registrar.renew(&config.limits, &lines);
        self.listen(listeners);
        // Before the ports, some of which lead to them.
        parts::run(&mut self.parts, parts);
        self.serve(ports);
        self.answer_strangers(&config);
        let of_ports = self.ports.iter().filter_map(|port| port.tls.clone());
        let of_parts = self.parts.iter().filter_map(|running| running.part.tls());
        self.certificates.are(of_ports.chain(of_parts).collect());
        self.config = config;
        self.candidates = candidates;
        Ok(())
    }

    /// Closes listeners that left the file and that nobody uses any more. Call it every few seconds.
    pub(super) async fn tidy(&mut self) {
        let due: Vec<Listener> =
            self.leaving.iter().filter(|listener| listener.since.elapsed() >= LINGER).cloned().collect();
        for listener in due {
            let packets = self.world.packets.clone();
            let closed = tokio::task::spawn_blocking(move || packets.close_unused(listener.index)).await;
            if closed.unwrap_or(false) {
                tracing::info!(service = %listener.service, addr = %listener.listen, "nobody uses this listener any more: closed");
                self.leaving.retain(|other| other.index != listener.index);
            }
        }
    }

    /// Reads certificates that changed on disk.
    pub(super) async fn renew_certificates(&self) {
        self.certificates.renew().await;
    }

    /// Listeners with `enable_stun` are STUN servers, too.
    fn answer_strangers(&self, config: &Config) {
        let services = config.services.iter().filter(|service| service.ice().is_some_and(|ice| ice.stun));
        let listeners = services.filter_map(|service| match service.kind {
            ServiceKind::Udp { .. } => self.udp.iter().find(|it| it.is_of(service)).map(|it| it.index),
            _ => self.ports.iter().find(|port| port.is_of(service))?.listener(),
        });
        self.world.packets.set_plain(listeners);
    }

    fn plan_listeners(&self, config: &Config) -> Result<Vec<PlannedListener>, StartError> {
        let mut planned = Vec::new();
        for service in config.services.iter().filter(|service| is_udp(service)) {
            let known = self.udp.iter().chain(&self.leaving).find(|listener| listener.is_of(service));
            planned.push(match known {
                Some(known) => PlannedListener::Known(known.clone()),
                None => {
                    let bound = self.world.packets.bind(service.listen, &self.media);
                    let bound = bound.map_err(|error| StartError::of_udp(service, error))?;
                    PlannedListener::New(service.name.clone(), service.listen, bound)
                }
            });
        }
        Ok(planned)
    }

    fn listen(&mut self, planned: Vec<PlannedListener>) {
        let mut before: Vec<Listener> = self.udp.drain(..).collect();
        for planned in planned {
            let listener = match planned {
                PlannedListener::Known(known) => known,
                PlannedListener::New(service, listen, bound) => {
                    let index = self.world.packets.listen(bound);
                    Listener { service, listen, index, since: Instant::now() }
                }
            };
            before.retain(|other| other.index != listener.index);
            self.leaving.retain(|other| other.index != listener.index);
            self.udp.push(listener);
        }
        let now = Instant::now();
        self.leaving.extend(before.into_iter().map(|listener| Listener { since: now, ..listener }));
    }
}

impl Listener {
    fn is_of(&self, service: &Service) -> bool {
        self.listen == service.listen && (self.listen.port() != 0 || self.service == service.name)
    }
}

fn is_udp(service: &Service) -> bool {
    matches!(service.kind, ServiceKind::Udp { ice: Some(_) })
}

/// Turns true with the last phase.
fn stopping(mut phase: watch::Receiver<Phase>, tasks: &mut JoinSet<()>) -> watch::Receiver<bool> {
    let (tell, stopping) = watch::channel(false);
    tasks.spawn(async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
        tell.send_replace(true);
    });
    stopping
}
