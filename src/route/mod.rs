//! \[pure\] Which route a request takes, which server of the route, and what path is asked for there (xrtc.md §2).
//!
//! Decides from the request line and headers, from what was remembered of the client, and from what servers showed of
//! their health. Never opens a connection, never reads a clock, never draws randomness: the caller brings time and numbers.

mod balance;
#[cfg(test)]
mod balance_tests;
mod health;
mod janus_id;
mod memory;
mod rewrite;
mod rooms;
mod sticky;
#[cfg(test)]
mod sticky_tests;
#[cfg(test)]
mod tests;

pub use balance::{Balancer, Machine, Member, RequestKind, Wanted};
pub use health::{Change, Evidence};
pub use janus_id::{session_in_answer, session_in_path};
pub use rooms::Placement;
pub use sticky::{STICKY_NAME, StickyKey, StickyTable};

use crate::config::{Http, PathRule, Route, ServerUrl};

/// What of a request decides its route.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The `Host` header as sent, port included.
    pub host: Option<&'a str>,
    /// The raw path, without query.
    pub path: &'a str,
    /// The subprotocols a WebSocket upgrade offers; empty for every other request.
    pub ws_protocols: &'a [&'a str],
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The `Host` is not the `servername` of this service: 421.
    Misdirected,
    /// No route takes it.
    Unrouted,
    /// This route takes it.
    Routed(Chosen),
}

/// A chosen route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index into the service's routes.
    pub route: usize,
    /// Index of the longest of the route's `paths` that matches, if any does.
    rule: Option<usize>,
}

/// The routing rules of one HTTP service.
#[derive(Debug)]
pub struct RouteTable {
    servername: Option<String>,
    routes: Vec<Rules>,
}

#[derive(Debug)]
struct Rules {
    hosts: Vec<String>,
    ws_protocols: Vec<String>,
    paths: Vec<PathRule>,
    /// What the rooms of this route, if it has some, take of what the paths match.
    placement: Placement,
}

impl RouteTable {
    /// The rules of `http`, in file order.
    pub fn new(http: &Http) -> Self {
        RouteTable {
            servername: http.servername.as_deref().map(bare_host),
            routes: http.routes.iter().map(Rules::new).collect(),
        }
    }

    /// Chooses by hosts, then subprotocols, then paths; the first kind that matches decides.
    pub fn choose(&self, asked: &Asked<'_>) -> Choice {
        let host = asked.host.map(bare_host);
        if self.servername.is_some() && self.servername != host {
            return Choice::Misdirected;
        }
        let route = self
            .by_host(host.as_deref())
            .or_else(|| self.by_ws_protocol(asked.ws_protocols))
            .or_else(|| self.by_path(asked.path));
        match route {
            Some(route) => Choice::Routed(Chosen { route, rule: self.routes[route].longest(asked.path) }),
            None => Choice::Unrouted,
        }
    }

    /// The choice of a sticky session that was on `route` last, where nothing else matches. `None`: there is no such route.
    pub fn stay(&self, route: usize, path: &str) -> Option<Chosen> {
        let rules = self.routes.get(route)?;
        Some(Chosen { route, rule: rules.longest(path) })
    }

    /// What of `path` stands behind the prefix that chose the route; all of it where none did.
    pub fn rest<'p>(&self, chosen: Chosen, path: &'p str) -> &'p str {
        let rules = self.routes.get(chosen.route);
        let rule = chosen.rule.and_then(|rule| rules?.paths.get(rule));
        rule.and_then(|rule| path.strip_prefix(&rule.prefix)).unwrap_or(path)
    }

    /// Path and query to ask `server` for.
    pub fn target(&self, chosen: Chosen, server: &ServerUrl, path: &str, query: Option<&str>) -> String {
        let rules = self.routes.get(chosen.route);
        let rule = chosen.rule.and_then(|rule| rules?.paths.get(rule));
        rewrite::target(server, rule, path, query)
    }

    /// The path of the edge behind which a path of `server` is found on the chosen route: its rewrite undone, by the same
    /// rule where that fits. `None` where no rule of the route leads there.
    pub fn edge_path(&self, chosen: Chosen, server: &ServerUrl, path: &str) -> Option<String> {
        let rules = self.routes.get(chosen.route)?;
        let asked = path.strip_prefix(&server.path)?;
        let back = |rule: usize| {
            let PathRule { prefix, replacement } = rules.paths.get(rule)?;
            let rest = asked.strip_prefix(replacement.as_deref().unwrap_or(prefix))?;
            Some(format!("{prefix}{rest}")).filter(|path| rules.longest(path) == Some(rule))
        };
        let others = || (0..rules.paths.len()).find_map(back);
        // A route that is chosen by host takes paths that no rule names.
        let unnamed = || {
            let by_path_alone = rules.hosts.is_empty();
            (!by_path_alone && rules.longest(asked).is_none()).then(|| asked.to_owned())
        };
        chosen.rule.and_then(back).or_else(others).or_else(unnamed)
    }

    fn by_host(&self, host: Option<&str>) -> Option<usize> {
        let host = host?;
        self.routes.iter().position(|route| route.hosts.iter().any(|own| own == host))
    }

    fn by_ws_protocol(&self, offered: &[&str]) -> Option<usize> {
        self.routes
            .iter()
            .position(|route| route.ws_protocols.iter().any(|own| offered.contains(&own.as_str())))
    }

    /// The longest matching prefix; among equals the first in the file, rooms that take any path last.
    fn by_path(&self, path: &str) -> Option<usize> {
        let mut best: Option<(usize, (usize, bool))> = None;
        for (route, rules) in self.routes.iter().enumerate() {
            let Some(rule) = rules.longest(path) else { continue };
            let rank = (rules.paths[rule].prefix.len(), rules.placement != Placement::Anywhere);
            if best.is_none_or(|(_, highest)| rank > highest) {
                best = Some((route, rank));
            }
        }
        best.map(|(route, _)| route)
    }
}

impl Rules {
    fn new(route: &Route) -> Self {
        Rules {
            hosts: route.hosts.iter().map(|host| bare_host(host)).collect(),
            ws_protocols: route.ws_protocols.clone(),
            paths: route.paths.clone(),
            placement: Placement::of(route),
        }
    }

    fn longest(&self, path: &str) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (at, rule) in self.paths.iter().enumerate() {
            let longer = best.is_none_or(|best| rule.prefix.len() > self.paths[best].prefix.len());
            if longer && path.starts_with(&rule.prefix) && self.placement.takes(&rule.prefix, path) {
                best = Some(at);
            }
        }
        best
    }
}

/// A `Host` without port, brackets and root dot, in lower case.
fn bare_host(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or(v6, |(address, _)| address),
        None if host.matches(':').count() == 1 => host.split_once(':').map_or(host, |(name, _)| name),
        None => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
