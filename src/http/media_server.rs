//! The Janus behind rooms that the edge serves itself. The edge speaks to it as a browser would, through routes of its own
//! that nobody else can ask for: so SDP is rewritten, sessions are registered and outages are told like everybody's.
//!
//! A room stays at one server as long as anybody in it has a conversation there; new rooms are spread over the servers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::watch;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::forwarded::Arrival;
use super::server::{Phase, serve_connection};
use super::service::{HttpService, ServiceError};
use super::upstream;
use crate::config::{
    self, DialectKind, Limits, PathRule, RoomRules, Route, RouteUpstream, ServerUrl, UpstreamGroup,
};
use crate::dialect::EdgeCandidates;
use crate::session::registration::SessionSink;
use crate::signalling::{Conversation, Dialled, MediaServer};

/// What waits between the edge and itself: some offers.
const BUFFER: usize = 64 << 10;
const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("janus-protocol");

/// The servers of the rooms of one route.
#[derive(Clone, Debug)]
pub(super) struct Januses(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// One route for each server, `/0/` and so on.
    inner: Arc<HttpService>,
    /// By host and port.
    servers: Vec<String>,
    rooms: Arc<Rooms>,
    /// Ends the conversations with the service.
    phase: Arc<watch::Sender<Phase>>,
}

/// Rooms with open conversations: at which server, and how many. It survives a reload.
type Rooms = Mutex<HashMap<String, (String, usize)>>;

impl Januses {
    /// `None`: this route has no rooms, or they have no media server.
    pub(super) fn new(
        known: Option<&Januses>,
        http: &config::Http,
        route: &Route,
        groups: &[UpstreamGroup],
        limits: &Limits,
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
    ) -> Result<Option<Self>, ServiceError> {
        let servers = match upstream_of(route) {
            None => return Ok(None),
            Some(RouteUpstream::Server(server)) => vec![server.clone()],
            Some(RouteUpstream::Group(group)) => match groups.get(*group) {
                Some(group) => of_upgrades(&group.servers),
                None => return Err(ServiceError::NoGroup { route: route.name.clone(), group: *group }),
            },
            Some(RouteUpstream::Rooms(_)) => Vec::new(),
        };
        let routes = servers.iter().enumerate().map(|(index, server)| inner_route(route, index, server));
        let names = servers.iter().map(upstream::name).collect();
        let inner = config::Http {
            servername: None,
            root: None,
            root_index: false,
            rest: false,
            routes: routes.collect(),
            trusted_proxies: Vec::new(),
            geoip_db: None,
            ..http.clone()
        };
        let inner = match known {
            Some(known) => known.0.inner.renewed(&inner, &[], limits, edge_candidates, sink)?,
            None => HttpService::new(&inner, &[], limits, edge_candidates, sink)?,
        };
        Ok(Some(Januses(Arc::new(Shared {
            inner: Arc::new(inner),
            servers: names,
            rooms: known.map(|known| known.0.rooms.clone()).unwrap_or_default(),
            phase: known.map(|known| known.0.phase.clone()).unwrap_or_else(serving),
        }))))
    }

    /// What reads the conversations.
    pub(super) fn service(&self) -> &Arc<HttpService> {
        &self.0.inner
    }
}

fn serving() -> Arc<watch::Sender<Phase>> {
    Arc::new(watch::channel(Phase::Serving).0)
}

/// The servers of a group that speak WebSocket.
fn of_upgrades(servers: &[ServerUrl]) -> Vec<ServerUrl> {
    servers.iter().filter(|server| server.scheme.is_websocket()).cloned().collect()
}

fn upstream_of(route: &Route) -> Option<&RouteUpstream> {
    let RouteUpstream::Rooms(signalling) = &route.upstream else { return None };
    let RoomRules::Live(rules) = &signalling.rules else { return None };
    rules.upstream.as_ref()
}

fn inner_route(route: &Route, index: usize, server: &ServerUrl) -> Route {
    Route {
        // A name for each: what goes on over a reload is found by it.
        name: if index == 0 { route.name.clone() } else { format!("{}/{}", route.name, index + 1).into() },
        dialect: Some(DialectKind::Janus),
        upstream: RouteUpstream::Server(server.clone()),
        hosts: Vec::new(),
        ws_protocols: Vec::new(),
        paths: vec![PathRule { prefix: path(index), replacement: Some("/".into()) }],
        ..route.clone()
    }
}

fn path(index: usize) -> String {
    format!("/{index}/")
}

impl MediaServer for Januses {
    fn dial(&self, room: &str) -> Dialled {
        let (shared, room) = (self.0.clone(), room.to_owned());
        Box::pin(async move {
            let mut failed = io::Error::other("there is no media server");
            for index in shared.order(&room) {
                match shared.open(index).await {
                    Ok(stream) => {
                        let place = shared.settle(room, index);
                        return Ok(Box::new(Placed { stream, _place: place }) as Box<dyn Conversation>);
                    }
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        })
    }
}

impl Shared {
    /// The servers in the order in which they are tried: first the one that has the room, then always the same ones for
    /// the same room (rendezvous hashing), so that a server that goes takes only its own rooms along.
    fn order(&self, room: &str) -> Vec<usize> {
        let weight = |index: &usize| {
            let mut hasher = DefaultHasher::new();
            (room, &self.servers[*index]).hash(&mut hasher);
            hasher.finish()
        };
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(weight);
        if let Some((home, _)) = self.lock().get(room) {
            order.sort_by_key(|index| self.servers[*index] != *home);
        }
        order
    }

    async fn open(&self, index: usize) -> io::Result<DuplexStream> {
        let (near, far) = duplex(BUFFER);
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let arrival = Arrival { peer: nobody, local: nobody, tls: None };
        tokio::spawn(serve_connection(far, arrival, self.inner.clone(), self.phase.subscribe()));
        let mut request =
            format!("ws://edge{}", path(index)).into_client_request().map_err(io::Error::other)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
        let (socket, _) = client_async(request, near).await.map_err(io::Error::other)?;
        // Janus says nothing before it is asked, so nothing of it is lost here.
        Ok(socket.into_inner())
    }

    /// Notes that a conversation about a room is held with a server.
    fn settle(&self, room: String, index: usize) -> Place {
        let server = self.servers[index].clone();
        let mut rooms = self.lock();
        let (home, count) = rooms.entry(room.clone()).or_insert_with(|| (server.clone(), 0));
        // The former home is gone with everybody who was there.
        if *home != server {
            (*home, *count) = (server.clone(), 0);
        }
        *count += 1;
        drop(rooms);
        Place { rooms: self.rooms.clone(), room, server }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, usize)>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a room where it is.
struct Place {
    rooms: Arc<Rooms>,
    room: String,
    server: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((home, count)) = rooms.get_mut(&self.room) else { return };
        if *home != self.server {
            return;
        }
        *count -= 1;
        if *count == 0 {
            rooms.remove(&self.room);
        }
    }
}

/// A conversation that holds its room's place.
struct Placed {
    stream: DuplexStream,
    _place: Place,
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
