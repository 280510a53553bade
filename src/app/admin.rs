//! The admin service as it is connected: what it asks of the packet side, and what it tells of all parts.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use super::relays::Relays;
use crate::admin::{
    Admin, Answer, Directory, Live, Packets, ProcessMetrics, Readiness, Setup, UpstreamServer, Upstreams,
    sample_forever, serve_connection,
};
use crate::config::Limits;
use crate::dialect::EdgeCandidates;
use crate::forward::Counters;
use crate::http::{Phase, RequestCounters, ServerState};
use crate::listener::PacketSide;
use crate::listener::tcp::{Arrived, ByteStream, Connections, Web};
use crate::session::observe::Tap;
use crate::session::registration::{Command, EndReason, SessionId, SessionSink};
use crate::session::story::Story;
use crate::signalling::Rooms;
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample, Sources};

/// Connections of operators; their own, so that a crowd of clients does not lock them out.
const CONNECTIONS: usize = 128;

/// What admin services share, whether there is one or not: session events go here in any case.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) directory: Arc<Directory>,
    /// Every part that has something to tell at a scrape is registered here.
    pub(super) sources: Arc<Sources>,
    /// Operators' own connections.
    pub(super) connections: Arc<Connections>,
    /// HTTP requests of all services.
    pub(super) requests: Arc<RequestCounters>,
    live: Arc<Live>,
    packets: Arc<dyn Packets>,
    upstreams: Arc<Upstreams>,
    /// Every TURN service.
    pub(super) relays: Relays,
    /// Every room.
    pub(super) rooms: Rooms,
}

impl Desk {
    /// `servers` tells how upstreams are now.
    pub(super) fn new(
        packets: &PacketSide,
        limits: &Limits,
        servers: impl Fn() -> Vec<ServerState> + Send + Sync + 'static,
    ) -> Self {
        let upstreams: Arc<Upstreams> = Arc::new(move || merged(servers()));
        let desk = Desk {
            directory: Arc::default(),
            sources: Arc::default(),
            connections: Connections::new(&Limits {
                http_connections: CONNECTIONS,
                connections_per_source: CONNECTIONS,
                ..limits.clone()
            }),
            requests: Arc::default(),
            live: Arc::default(),
            packets: Arc::new(Asked(packets.clone())),
            upstreams,
            relays: Relays::default(),
            rooms: Rooms::default(),
        };
        desk.sources.add(Arc::new(desk.rooms.clone()));
        desk.sources.add(desk.directory.clone());
        desk.sources.add(desk.requests.clone());
        desk.sources.add(Arc::new(ProcessMetrics::new()));
        desk.sources.add(Arc::new(UpstreamMetrics(desk.upstreams.clone())));
        desk
    }

    /// Takes the figures that dashboards show, as long as the task is not dropped.
    pub(super) async fn sample(self) {
        sample_forever(self.live, self.packets, self.directory, self.upstreams).await;
    }

    /// The admin service of one port.
    pub(super) fn open(
        &self,
        admin: &crate::config::Admin,
        candidates: &EdgeCandidates,
        phase: watch::Receiver<Phase>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<dyn Web> {
        let readiness: Arc<Readiness> = Arc::new(move || obstacles(*phase.borrow()));
        Arc::new(AdminSite(Admin::new(Setup {
            token: admin.token.clone(),
            packets: self.packets.clone(),
            relays: Arc::new(self.relays.clone()),
            directory: self.directory.clone(),
            sources: self.sources.clone(),
            upstreams: self.upstreams.clone(),
            rooms: self.rooms.clone(),
            readiness,
            published: published(candidates).into(),
            live: self.live.clone(),
            stopping,
        })))
    }
}

/// Everything listens before the first admin connection is accepted, so only the end keeps the edge from being ready.
fn obstacles(phase: Phase) -> Vec<String> {
    match phase {
        Phase::Serving => Vec::new(),
        Phase::Draining => vec!["draining: no new connection is accepted, sessions may end".to_owned()],
        Phase::Stopping => vec!["stopping".to_owned()],
    }
}

/// Transport, address and port of each candidate line.
fn published(candidates: &EdgeCandidates) -> String {
    let name = |line: &str| {
        let mut words = line.split(' ').skip(2);
        let transport = words.next()?.to_uppercase();
        let (ip, port) = (words.nth(1)?, words.next()?);
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        Some(format!("{transport} {ip}:{port}"))
    };
    let names: Vec<_> = candidates.iter().filter_map(|line| name(line)).collect();
    if names.is_empty() { "the edge's address".to_owned() } else { names.join(", ") }
}

/// A server that several services use is up when all of them reach it.
fn merged(states: Vec<ServerState>) -> Vec<UpstreamServer> {
    let mut servers: BTreeMap<(String, String), UpstreamServer> = BTreeMap::new();
    for ServerState { upstream, server, is_up, reason } in states {
        let known = servers.entry((upstream.clone(), server.clone())).or_insert_with(|| UpstreamServer {
            upstream,
            server,
            up: true,
            reason: None,
        });
        known.up &= is_up;
        known.reason = known.reason.take().or(reason);
    }
    servers.into_values().collect()
}

struct UpstreamMetrics(Arc<Upstreams>);

impl MetricSource for UpstreamMetrics {
    fn families(&self) -> Vec<Family> {
        let sample = |it: UpstreamServer| {
            Sample::new([("upstream", &*it.upstream), ("server", &*it.server)], f64::from(u8::from(it.up)))
        };
        vec![Family::of(
            "xrtc_upstream_up",
            "Whether a server of an upstream takes requests.",
            Kind::Gauge,
            (self.0)().into_iter().map(sample),
        )]
    }
}

/// The packet side, asked through the workers' inboxes.
struct Asked(PacketSide);

impl Packets for Asked {
    fn workers(&self) -> u32 {
        self.0.workers()
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }

    fn live_sessions(&self) -> usize {
        self.0.live_sessions()
    }

    fn stories(&self, worker: u32, sessions: Vec<SessionId>) -> Answer<Option<Vec<Story>>> {
        let packets = self.0.clone();
        Box::pin(async move {
            let told = packets.ask(worker, move |forwarder, now| {
                sessions.into_iter().filter_map(|id| forwarder.story(now, id)).collect()
            });
            told.await
        })
    }

    fn tap(&self, worker: u32, session: SessionId, tap: Tap) -> Answer<bool> {
        let packets = self.0.clone();
        Box::pin(async move {
            packets.ask(worker, move |forwarder, _| forwarder.tap(session, tap)).await.unwrap_or(false)
        })
    }

    fn end(&self, session: SessionId) {
        self.0.send(Command::End(session, EndReason::Operator));
    }
}

/// The admin service as the TCP ports know it.
struct AdminSite(Arc<Admin>);

impl Web for AdminSite {
    fn serve(&self, stream: Box<dyn ByteStream>, _: Arrived) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(serve_connection(stream, self.0.clone()))
    }
}

impl super::edge::World {
    /// The admin service of one port.
    pub(super) fn admin(&self, admin: &crate::config::Admin, candidates: &EdgeCandidates) -> Arc<dyn Web> {
        self.desk.open(admin, candidates, self.phase.subscribe(), self.stopping.clone())
    }
}
