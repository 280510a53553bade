//! The upstream groups of one HTTP service at work: which server takes a request, who sticks to which, and what was met there.
//!
//! The rules are [`crate::route`]'s; this brings them time, randomness and one lock per group, which is never held over a wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use tracing::{info, warn};

use super::answer::Fault;
use super::upstream;
use crate::config::{HealthCheck, RouteUpstream, ServerUrl, UpstreamGroup};
use crate::route::{
    Balancer, Change, Evidence, Machine, Member, RequestKind, STICKY_NAME, StickyKey, StickyTable, Wanted,
};

/// The groups, and who sticks to their servers.
#[derive(Debug)]
pub(super) struct Pools {
    groups: Vec<Arc<Pool>>,
    /// Outlives every configuration: routes and groups have numbers there that they keep.
    sticky: Arc<Mutex<StickyTable>>,
    /// The number of the next group that comes.
    next_number: usize,
}

/// How a server of an upstream is, as far as one HTTP service knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Name of the group; the server's own where the route names a server.
    pub upstream: String,
    /// Scheme, host and port.
    pub server: String,
    /// Whether it takes requests.
    pub is_up: bool,
    /// Why it does not.
    pub reason: Option<String>,
}

/// One group.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: Arc<str>,
    pub(super) check: Option<HealthCheck>,
    pub(super) servers: Vec<ServerUrl>,
    config: UpstreamGroup,
    /// In the sticky table.
    number: usize,
    balancer: Mutex<Balancer>,
    /// Why each server left the rotation, by its place.
    reasons: Mutex<Vec<Option<String>>>,
}

/// A request that needs a server.
#[derive(Debug)]
pub(super) struct Need<'a> {
    /// The number of its route in the sticky table.
    pub(super) route: usize,
    pub(super) upstream: &'a RouteUpstream,
    pub(super) kind: RequestKind,
    pub(super) belongs: Belongs,
    /// Not so for a CORS preflight, see [`Wanted::takes_turn`].
    pub(super) takes_turn: bool,
    /// The server that the route's dialect wants, because it has what is asked for.
    pub(super) server: Option<ServerUrl>,
}

/// What a request says about where it belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Belongs {
    /// Its sticky session, known or not.
    pub(super) key: Option<StickyKey>,
    /// The Janus session that its path names.
    pub(super) janus_session: Option<u64>,
}

/// A server for a request.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    pub(super) server: ServerUrl,
    pub(super) home: Option<Home>,
    /// Whether another server of the group would do as well.
    pub(super) may_move: bool,
}

/// Where in a group a server is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) group: usize,
    pub(super) member: Member,
    machine: Machine,
}

impl Belongs {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts =
            |name| headers.get_all(name).into_iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        let cookie = texts(COOKIE.as_str()).find_map(StickyKey::in_cookies);
        let key = cookie.or_else(|| texts(STICKY_NAME).find_map(StickyKey::parse));
        Belongs { key, janus_session: None }
    }
}

impl Pools {
    pub(super) fn new(groups: &[UpstreamGroup]) -> Self {
        let none =
            Pools { groups: Vec::new(), sticky: Arc::new(Mutex::new(StickyTable::new())), next_number: 0 };
        none.renewed(groups)
    }

    /// The same for changed groups: a group of the same name is the same group. What is known of servers that stay, and who
    /// sticks to them, stays known.
    pub(super) fn renewed(&self, groups: &[UpstreamGroup]) -> Self {
        let mut next_number = self.next_number;
        let mut renewed = Vec::with_capacity(groups.len());
        for group in groups {
            let known = self.groups.iter().find(|pool| pool.name == group.name);
            renewed.push(match known {
                Some(pool) if pool.config == *group => pool.clone(),
                Some(pool) => Arc::new(Pool::new(group, pool.number, pool.balancer().renewed(group))),
                None => {
                    next_number += 1;
                    Arc::new(Pool::new(group, next_number, Balancer::new(group)))
                }
            });
        }
        Pools { groups: renewed, sticky: self.sticky.clone(), next_number }
    }

    /// The server that the dialect names, else that of its Janus session, else of its sticky session, else the one whose turn it is.
    pub(super) fn pick(&self, need: &Need<'_>) -> Result<Pick, Fault> {
        let group = match need.upstream {
            RouteUpstream::Server(server) => {
                let server = need.server.as_ref().unwrap_or(server).clone();
                return Ok(Pick { server, home: None, may_move: false });
            }
            RouteUpstream::Group(group) => *group,
            RouteUpstream::Rooms(_) => return Err(Fault::Internal("rooms, which have no server".to_owned())),
        };
        self.groups.get(group).and_then(|pool| self.pick_in(group, pool, need)).ok_or_else(|| {
            Fault::NoServer {
                group: self.groups.get(group).map_or_else(String::new, |pool| pool.name.to_string()),
                kind: match need.kind {
                    RequestKind::Http => "HTTP requests",
                    RequestKind::WebSocket => "WebSockets",
                },
            }
        })
    }

    fn pick_in(&self, group: usize, pool: &Pool, need: &Need<'_>) -> Option<Pick> {
        let now = Instant::now();
        let at_home =
            need.belongs.janus_session.and_then(|id| self.sticky().janus_machine(pool.number, id, now));
        let machines: Vec<Machine> = match need.belongs.key {
            Some(key) => self.sticky().machines(key, need.route, need.kind, now).collect(),
            None => Vec::new(),
        };
        let mut balancer = pool.balancer();
        let is = |url: &ServerUrl| balancer.members().find(|member| balancer.url(*member) == url);
        let named = need.server.as_ref().and_then(is);
        if let Some(member) = named {
            return Some(Pick::new(group, &balancer, member, false));
        }
        // Only this server has the session; that it does not answer is what the client must hear.
        if let Some(member) = at_home.and_then(|machine| balancer.on(machine, need.kind)) {
            return Some(Pick::new(group, &balancer, member, false));
        }
        let stuck = machines.into_iter().find_map(|machine| balancer.on(machine, need.kind));
        let member = match stuck.filter(|member| balancer.is_usable(*member, now)) {
            Some(member) => member,
            None => {
                let wanted = Wanted {
                    kind: need.kind,
                    now,
                    random: rand::random(),
                    tried: &[],
                    takes_turn: need.takes_turn,
                };
                balancer.choose(&wanted)?
            }
        };
        Some(Pick::new(group, &balancer, member, true))
    }

    /// Another server for a request that could not connect to `tried`, where there is one in the rotation.
    pub(super) fn pick_again(&self, need: &Need<'_>, tried: &[Member]) -> Option<Pick> {
        let RouteUpstream::Group(group) = need.upstream else { return None };
        let mut balancer = self.groups.get(*group)?.balancer();
        let wanted = Wanted {
            kind: need.kind,
            now: Instant::now(),
            random: rand::random(),
            tried,
            takes_turn: need.takes_turn,
        };
        let member = balancer.choose(&wanted)?;
        Some(Pick::new(*group, &balancer, member, true))
    }

    /// Notes what was met at a server of a group, and says once what that changes.
    pub(super) fn report(&self, home: Home, evidence: Evidence, reason: &str) {
        let Some(pool) = self.groups.get(home.group) else { return };
        let mut balancer = pool.balancer();
        let change = balancer.report(home.member, evidence, Instant::now());
        let Some(change) = change else { return };
        let server = upstream::name(balancer.url(home.member));
        let place = balancer.members().position(|member| member == home.member);
        drop(balancer);
        let mut reasons = pool.reasons();
        if let Some(known) = place.and_then(|place| reasons.get_mut(place)) {
            *known = (change == Change::Left).then(|| reason.to_owned());
        }
        drop(reasons);
        match change {
            Change::Left => {
                warn!(group = %pool.name, upstream = %server, reason, "upstream is down and leaves the rotation");
            }
            Change::Returned => {
                info!(group = %pool.name, upstream = %server, "upstream is back in the rotation");
            }
        }
    }

    /// Remembers who was served where; the cookie to send, if one is due.
    pub(super) fn remember(&self, need: &Need<'_>, pick: &Pick, is_tls: bool) -> Option<HeaderValue> {
        let home = pick.home?;
        let now = Instant::now();
        let mut sticky = self.sticky();
        // A key that is not known here is not taken over: it may be one that somebody else chose.
        let known = need.belongs.key.filter(|key| sticky.knows(*key, now));
        let key = known.unwrap_or_else(|| StickyKey::new(rand::random()));
        let is_due = sticky.remember(key, need.route, need.kind, home.machine, now);
        is_due.then(|| HeaderValue::from_str(&key.cookie(is_tls)).ok()).flatten()
    }

    /// The number of the route that a live sticky session used last.
    pub(super) fn last_route(&self, key: StickyKey) -> Option<usize> {
        self.sticky().last_route(key, Instant::now())
    }

    /// A server showed that it has a Janus session.
    pub(super) fn learn_janus(&self, home: Home, id: u64) {
        let Some(pool) = self.groups.get(home.group) else { return };
        self.sticky().learn_janus(pool.number, id, home.machine, Instant::now());
    }

    pub(super) fn sweep(&self) {
        self.sticky().sweep(Instant::now());
    }

    /// Every server of `group`, for checks.
    pub(super) fn servers(&self, group: usize) -> Vec<(Home, ServerUrl)> {
        let Some(pool) = self.groups.get(group) else { return Vec::new() };
        let balancer = pool.balancer();
        let server = |member| {
            (Home { group, member, machine: balancer.machine(member) }, balancer.url(member).clone())
        };
        balancer.members().map(server).collect()
    }

    /// How every server of `group` is.
    pub(super) fn states(&self, group: usize) -> Vec<ServerState> {
        let Some(pool) = self.groups.get(group) else { return Vec::new() };
        let now = Instant::now();
        let (balancer, reasons) = (pool.balancer(), pool.reasons());
        let state = |(member, reason): (Member, &Option<String>)| {
            let is_up = balancer.is_usable(member, now) && reason.is_none();
            ServerState {
                upstream: pool.name.to_string(),
                server: balancer.url(member).to_string(),
                is_up,
                reason: reason.clone(),
            }
        };
        balancer.members().zip(reasons.iter()).map(state).collect()
    }

    pub(super) fn get(&self, group: usize) -> Option<&Pool> {
        self.groups.get(group).map(|pool| &**pool)
    }

    fn sticky(&self) -> MutexGuard<'_, StickyTable> {
        self.sticky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(group: &UpstreamGroup, number: usize, balancer: Balancer) -> Self {
        Pool {
            name: group.name.clone(),
            check: group.health.clone(),
            servers: group.servers.clone(),
            config: group.clone(),
            number,
            balancer: Mutex::new(balancer),
            reasons: Mutex::new(vec![None; group.servers.len()]),
        }
    }

    fn reasons(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pick {
    fn new(group: usize, balancer: &Balancer, member: Member, may_move: bool) -> Self {
        let home = Home { group, member, machine: balancer.machine(member) };
        Pick { server: balancer.url(member).clone(), home: Some(home), may_move }
    }
}
