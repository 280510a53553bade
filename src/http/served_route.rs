//! One route of a service, with what serves it. Decides what of it goes on when the configuration changes, and what a request on it
//! needs; never which route a request takes, nor which server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::HeaderMap;

use super::conversation::Conversation;
use super::media_server::Januses;
use super::pools::{Belongs, Need};
use super::service::{DialectBuilder, ServiceError};
use crate::config::{self, DialectKind, RouteUpstream, UpstreamGroup};
use crate::dialect::{EdgeCandidates, Settings};
use crate::route::{RequestKind, session_in_path};
use crate::session::registration::{Mode, SessionSink};
use crate::signalling::Hub;

/// A route with what serves it.
#[derive(Debug)]
pub(super) struct ServedRoute {
    pub(super) name: Arc<str>,
    /// In the sticky table; kept over all configurations.
    pub(super) number: usize,
    /// What its dialect is told when this configuration takes over.
    pub(super) settings: Settings,
    dialect: Option<DialectKind>,
    pub(super) conversation: Option<Arc<Conversation>>,
    pub(super) upstream: RouteUpstream,
    /// Set where the edge serves rooms itself.
    pub(super) rooms: Option<Arc<Hub>>,
    /// Where those rooms have their media, if not between the clients.
    pub(super) januses: Option<Januses>,
    /// Whether Janus sessions must find the server of a group that has them.
    pub(super) pins_janus: bool,
}

impl ServedRoute {
    /// As the file has it now; `known` is the route of this name that was served before.
    pub(super) fn new(
        route: &config::Route,
        groups: &[UpstreamGroup],
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
        dialects: &DialectBuilder,
        known: Option<&ServedRoute>,
        number: usize,
    ) -> Result<Self, ServiceError> {
        if let RouteUpstream::Group(group) = route.upstream
            && group >= groups.len()
        {
            return Err(ServiceError::NoGroup { route: route.name.clone(), group });
        }
        let settings = settings(route, edge_candidates);
        let goes_on = |known: &&ServedRoute| {
            known.dialect == route.dialect
                && known.settings.mode == settings.mode
                && known.conversation.is_some()
        };
        let conversation = match known.filter(goes_on) {
            Some(known) => known.conversation.clone(),
            None => {
                let dialect = route.dialect.as_ref().and_then(|kind| dialects(kind, settings.clone()));
                dialect.map(|dialect| Arc::new(Conversation::new(dialect, sink.clone())))
            }
        };
        Ok(ServedRoute {
            name: route.name.clone(),
            number,
            settings,
            dialect: route.dialect.clone(),
            conversation,
            upstream: route.upstream.clone(),
            rooms: None,
            januses: None,
            pins_janus: route.dialect == Some(DialectKind::Janus)
                && matches!(route.upstream, RouteUpstream::Group(_)),
        })
    }

    pub(super) fn dialect(&self) -> Option<&DialectKind> {
        self.dialect.as_ref()
    }

    /// What a request on this route needs.
    pub(super) fn need(&self, kind: RequestKind, path: &str, headers: &HeaderMap) -> Need<'_> {
        let mut belongs = match self.upstream {
            RouteUpstream::Group(_) => Belongs::of(headers),
            RouteUpstream::Server(_) | RouteUpstream::Rooms(_) => Belongs::default(),
        };
        belongs.janus_session = self.pins_janus.then(|| session_in_path(path)).flatten();
        Need { route: self.number, upstream: &self.upstream, kind, belongs, takes_turn: true, server: None }
    }
}

fn settings(route: &config::Route, edge_candidates: &EdgeCandidates) -> Settings {
    let upstream = match &route.upstream {
        RouteUpstream::Server(server) => {
            server.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, server.port))
        }
        RouteUpstream::Group(_) | RouteUpstream::Rooms(_) => None,
    };
    Settings {
        route: route.name.clone(),
        edge_candidates: edge_candidates.clone(),
        mode: if route.ice_direct { Mode::Transparent } else { Mode::HalfProxy },
        prefer_tcp: route.ice_tcp,
        upstream,
    }
}
