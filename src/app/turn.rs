//! TURN services: built from their section of the file, with what only the whole file says: backends that relays may reach,
//! and the edge's own ICE ports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use super::StartError;
use super::edge::World;
use super::parts::{Change, Part};
use crate::auth::Store;
use crate::budget::Rate;
use crate::config::resolve::{self, Candidate, Lookup, System};
use crate::config::{Config, Media, RouteUpstream, Service, ServiceKind, Turn};
use crate::http::Phase;
use crate::listener::tcp::{Front, StreamDoor, Tls};
use crate::listener::turn::{External, Externals, Facts, Limits, TurnDoor, TurnSide};
use crate::turn::{Peers, Policy, Realm};

/// How long looking up the names of backends may take, all together.
const LOOK_UP: Duration = Duration::from_secs(2);
/// Answers that a stranger gets at once, in seconds' worth of `stranger_answers`.
const BURST: u32 = 10;

/// A TURN service that runs.
pub(super) struct TurnPart {
    side: TurnSide,
    front: Arc<ArcSwap<Front>>,
    tls: Mutex<Option<Arc<Tls>>>,
    doors: Arc<Doors>,
    /// As the service was started: the sockets of relays are not opened anew.
    started: Turn,
    leave: watch::Sender<bool>,
}

/// Places at the packet side for the edge's own ICE ports, each made once.
#[derive(Default)]
struct Doors(Mutex<HashMap<SocketAddr, (usize, StreamDoor)>>);

impl Doors {
    /// All of them, in the order in which they were made.
    fn all(&self, world: &World, listeners: &[SocketAddr]) -> Vec<(SocketAddr, StreamDoor)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners {
            let next = known.len();
            known.entry(*listener).or_insert_with(|| (next, world.packets.add_stream_door(*listener)));
        }
        let mut all: Vec<_> =
            known.iter().map(|(addr, (index, door))| (*index, *addr, door.clone())).collect();
        all.sort_by_key(|(index, ..)| *index);
        all.into_iter().map(|(_, addr, door)| (addr, door)).collect()
    }
}

/// What a TURN service needs to know of everything else.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) world: &'a World,
    pub(super) config: &'a Config,
    pub(super) candidates: &'a [Candidate],
    pub(super) media: &'a Media,
}

impl TurnPart {
    /// Binds everything that the service listens on, and starts its workers.
    pub(super) fn start(
        around: Surroundings<'_>,
        service: &Service,
        turn: &Turn,
    ) -> Result<TurnPart, StartError> {
        let failed = |reason: String| StartError::Turn { service: service.name.clone(), reason };
        let store = Store::new(&turn.auth).map_err(|error| failed(error.to_string()))?;
        let externals = externals(service, turn).map_err(failed)?;
        let tls = service.tls.clone().map(|files| Tls::new(service.name.clone(), files));
        let tls = tls.transpose().map_err(StartError::Tls)?.map(Arc::new);
        let plain = bind(service, "addr", service.listen)?;
        let secure = turn.tls_listen.map(|addr| bind(service, "tls_addr", addr)).transpose()?;
        let doors = Arc::new(Doors::default());
        let (policy, stream_doors) = policy(around, turn, &externals, &doors);
        let side = TurnSide::start(Facts {
            service: service.name.clone(),
            // With port 0, one for both.
            listen: plain.local_addr().map_err(StartError::System)?,
            media: around.media.clone(),
            realm: Realm::new(&turn.realm),
            externals,
            policy,
            limits: limits(turn),
            bandwidth: turn.bandwidth as u64,
            max_lifetime: turn.max_lifetime.as_secs() as u32,
            strangers: strangers(turn),
            store,
            doors: stream_doors,
        })
        .map_err(|error| StartError::of_udp(service, error))?;
        let front = Arc::new(ArcSwap::from_pointee(front(around.world, &side, tls.clone())));
        let leave = watch::Sender::new(false);
        for listener in [Some(plain), secure].into_iter().flatten() {
            let listener = TcpListener::from_std(listener).map_err(StartError::System)?;
            accept(around.world, listener, front.clone(), &leave);
        }
        around.world.desk.sources.add(Arc::new(side.clone()));
        around.world.desk.relays.add(side.clone());
        tokio::spawn(follow_phase(side.clone(), around.world.phase.subscribe()));
        Ok(TurnPart { side, front, tls: Mutex::new(tls), doors, started: turn.clone(), leave })
    }
}

impl Part for TurnPart {
    fn plan(&self, around: Surroundings<'_>, service: &Service) -> Result<Change, StartError> {
        let ServiceKind::Turn(turn) = &service.kind else { return Ok(Box::new(|| {})) };
        let failed = |reason: String| StartError::Turn { service: service.name.clone(), reason };
        // Whether it can be built; the change itself must not fail.
        Store::new(&turn.auth).map_err(|error| failed(error.to_string()))?;
        let same = |tls: &Arc<Tls>| service.tls.as_ref() == Some(tls.files());
        let before = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = match (before.filter(same), &service.tls) {
            (Some(same), _) => Some(same),
            (None, None) => None,
            (None, Some(files)) => {
                Some(Arc::new(Tls::new(service.name.clone(), files.clone()).map_err(StartError::Tls)?))
            }
        };
        self.tell_what_stays(service, turn);
        let externals = externals(service, &self.started).map_err(failed)?;
        let (policy, doors) = policy(around, turn, &externals, &self.doors);
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls.clone();
        let front_then = front(around.world, &self.side, tls);
        let (side, front, turn) = (self.side.clone(), self.front.clone(), turn.clone());
        let coalesce = around.media.coalesce;
        Ok(Box::new(move || {
            front.store(Arc::new(front_then));
            let bandwidth = turn.bandwidth as u64;
            if let Err(error) = side.renew(&turn.auth, (policy, doors), limits(&turn), bandwidth, coalesce) {
                warn!(service = %side.service(), %error, "credentials stay as they were");
            }
        }))
    }

    fn let_go(self: Box<Self>) {
        self.leave.send_replace(true);
        self.side.drain();
        let side = self.side;
        tokio::spawn(async move {
            while side.allocations() > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            info!(service = %side.service(), "nobody uses this TURN service any more: closed");
            // Joining threads blocks, for milliseconds.
            let _ = tokio::task::spawn_blocking(move || side.stop()).await;
        });
    }

    fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn turn(&self) -> Option<&TurnSide> {
        Some(&self.side)
    }
}

impl TurnPart {
    fn tell_what_stays(&self, service: &Service, turn: &Turn) {
        let stays = [
            ("realm", self.started.realm != turn.realm),
            ("external_ips", self.started.external_ips != turn.external_ips),
            ("relay_ports", self.started.relay_ports != turn.relay_ports),
            ("max_lifetime", self.started.max_lifetime != turn.max_lifetime),
            ("stranger_answers", self.started.stranger_answers != turn.stranger_answers),
            ("net.tls_addr", self.started.tls_listen != turn.tls_listen),
        ];
        for (key, _) in stays.iter().filter(|(_, differs)| *differs) {
            warn!(service = %service.name, key, "changed in the file, and stays as it was: it needs a restart");
        }
    }
}

/// No new allocations from the drain on, none at all at the end.
async fn follow_phase(side: TurnSide, mut phase: watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    side.drain();
    let _ = phase.wait_for(|phase| *phase >= Phase::Stopping).await;
    let counters = side.counters();
    let (up, down) = (counters.traffic.up, counters.traffic.down);
    info!(
        service = %side.service(),
        allocated = counters.allocated,
        up_packets = up.packets,
        down_packets = down.packets,
        "TURN stops"
    );
    let _ = tokio::task::spawn_blocking(move || side.stop()).await;
}

fn accept(world: &World, listener: TcpListener, front: Arc<ArcSwap<Front>>, leave: &watch::Sender<bool>) {
    let (mut phase, mut leave) = (world.phase.subscribe(), leave.subscribe());
    tokio::spawn(Front::run_current(front, listener, async move {
        tokio::select! {
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => {}
            _ = leave.wait_for(|leave| *leave) => {}
        }
    }));
}

fn front(world: &World, side: &TurnSide, tls: Option<Arc<Tls>>) -> Front {
    Front {
        web: None,
        door: None,
        turn: Some(side.door()),
        tls,
        proxies: None,
        trusted: Vec::new(),
        connections: world.connections.clone(),
        counters: world.counters.clone(),
        stopping: world.stopping.clone(),
    }
}

fn bind(service: &Service, key: &'static str, addr: SocketAddr) -> Result<StdListener, StartError> {
    let bound = || {
        let listener = StdListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bound().map_err(|source| StartError::listen(service, key, "TCP", addr, source))
}

fn limits(turn: &Turn) -> Limits {
    Limits {
        all: turn.allocations,
        per_user: turn.allocations_per_user,
        per_client: turn.allocations_per_client,
    }
}

fn strangers(turn: &Turn) -> Rate {
    let per_second = u32::try_from(turn.stranger_answers).unwrap_or(u32::MAX);
    Rate { per_second, burst: per_second.saturating_mul(BURST) }
}

/// Addresses of relays: those of the file, else that of the listener, else what this host has.
fn externals(service: &Service, turn: &Turn) -> Result<Externals, String> {
    let mut addresses = Vec::new();
    for ip in &turn.external_ips {
        let external = External::new(ip.public, ip.private);
        addresses.push(external.map_err(|error| {
            let private = ip.private.unwrap_or(ip.public);
            format!("turn.external_ips: {private} is no address of this host: {error}")
        })?);
    }
    if addresses.is_empty() {
        let listen = service.listen.ip();
        let own = if listen.is_unspecified() { resolve::usable(&System) } else { vec![listen] };
        addresses.extend(own.into_iter().filter_map(|ip| External::new(ip, None).ok()));
    }
    if addresses.is_empty() {
        return Err("turn.external_ips: expected the addresses that peers reach, found none on this host's \
                    interfaces either"
            .into());
    }
    Ok(Externals { addresses, ports: turn.relay_ports.clone() })
}

/// Whom relays may reach.
fn policy(
    around: Surroundings<'_>,
    turn: &Turn,
    externals: &Externals,
    doors: &Doors,
) -> (Policy, Vec<StreamDoor>) {
    let mut own: Vec<IpAddr> = System.interfaces();
    own.extend(externals.addresses.iter().map(|external| external.public));
    own.extend(around.candidates.iter().map(|candidate| candidate.addr.ip()));
    let udp = around.config.services.iter();
    let udp: Vec<&Service> =
        udp.filter(|service| matches!(service.kind, ServiceKind::Udp { ice: Some(_) })).collect();
    let listeners: Vec<SocketAddr> = udp.iter().map(|service| service.listen).collect();
    let turn_listeners: Vec<SocketAddr> = around
        .config
        .services
        .iter()
        .filter(|service| matches!(service.kind, ServiceKind::Turn(_)))
        .map(|service| service.listen)
        .collect();
    let made = doors.all(around.world, &listeners);
    let addresses = |listener: SocketAddr| -> Vec<SocketAddr> {
        let services = udp.iter().filter(|service| service.listen == listener);
        let of_service = |name: &Arc<str>| {
            let own = around.candidates.iter().filter(move |it| it.service == *name && !it.tcp);
            own.map(|candidate| candidate.addr).collect::<Vec<_>>()
        };
        services.flat_map(|service| of_service(&service.name)).chain([listener]).collect()
    };
    let is_own = |ip: &IpAddr| ip.is_loopback() || own.contains(ip);
    let backends = backends(around.config).into_iter().filter(|ip| !is_own(ip));
    let single = |ip: IpAddr| crate::config::IpNet { addr: ip, prefix: if ip.is_ipv4() { 32 } else { 128 } };
    let policy = Policy {
        doors: made.iter().map(|(listener, _)| addresses(*listener)).collect(),
        own_ports: listeners.iter().chain(&turn_listeners).map(SocketAddr::port).collect(),
        mappings: externals
            .addresses
            .iter()
            .filter(|external| external.public != external.bind && !external.bind.is_unspecified())
            .map(|external| (external.public, external.bind))
            .collect(),
        peers: Peers {
            allow: turn.allow_peers.iter().copied().chain(backends.map(single)).collect(),
            deny: turn.deny_peers.clone(),
            own,
        },
    };
    (policy, made.into_iter().map(|(_, door)| door).collect())
}

/// Addresses of the media servers that the file names. Names are looked up, in a thread that may take its time.
fn backends(config: &Config) -> Vec<IpAddr> {
    let groups = config.upstreams.iter().flat_map(|group| group.servers.iter());
    let routes = config.services.iter().filter_map(Service::http).flat_map(|http| http.routes.iter());
    let single = routes.filter_map(|route| match &route.upstream {
        RouteUpstream::Server(server) => Some(server),
        RouteUpstream::Group(_) | RouteUpstream::Rooms(_) => None,
    });
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for server in groups.chain(single) {
        match server.host.parse::<IpAddr>() {
            Ok(ip) => found.push(ip),
            Err(_) => names.push((server.host.clone(), server.port)),
        }
    }
    names.sort_unstable();
    names.dedup();
    found.extend(look_up(names));
    found
}

fn look_up(names: Vec<(String, u16)>) -> Vec<IpAddr> {
    if names.is_empty() {
        return Vec::new();
    }
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for (host, port) in names {
            match (host.as_str(), port).to_socket_addrs() {
                Ok(found) => found.for_each(|addr| {
                    // Too late, and nobody listens any more.
                    let _ = tell.send(addr.ip());
                }),
                Err(error) => {
                    warn!(host, %error, "TURN: the name of a backend has no address; relays do not reach it")
                }
            }
        }
    });
    let until = std::time::Instant::now() + LOOK_UP;
    let next = || told.recv_timeout(until.saturating_duration_since(std::time::Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

/// The door of the first TURN service, for shared ports.
pub(super) fn door(side: Option<&TurnSide>) -> Option<TurnDoor> {
    side.map(TurnSide::door)
}
