//! \[pure\] Which server of an upstream group takes a request (xrtc.md §2).
//!
//! HTTP requests go to http and https servers, upgrades to ws and wss servers, and each kind takes its own turns. The n-th
//! server of a kind on a host and the n-th of the other kind on that host are one *machine*, so that whoever is at home on
//! one finds the other. Opens no connection and remembers no client; [`super::sticky`] does.

use std::time::Instant;

use super::health::{Change, Evidence, Health};
use crate::config::{Balance, Scheme, ServerUrl, UpstreamGroup};

/// What a server must be able to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// A plain HTTP request.
    Http,
    /// A WebSocket upgrade.
    WebSocket,
}

/// A server of a group, by its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(usize);

/// A host of a group that takes HTTP requests, upgrades, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine(usize);

/// A request that needs a server.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it must take.
    pub kind: RequestKind,
    /// Now.
    pub now: Instant,
    /// Used by `mode: random` alone.
    pub random: u64,
    /// Servers that this request could not connect to. Where there are any, only a server in the rotation is another try
    /// worth.
    pub tried: &'a [Member],
    /// Whether it uses up the turn. A CORS preflight must not: it comes right before the request that it asks for, so of two
    /// servers one would get all preflights and the other all requests.
    pub takes_turn: bool,
}

/// The servers of a group, their health, and whose turn it is.
#[derive(Debug)]
pub struct Balancer {
    mode: Balance,
    servers: Vec<Server>,
    http: Turns,
    web_socket: Turns,
}

#[derive(Debug)]
struct Server {
    url: ServerUrl,
    machine: Machine,
    health: Health,
}

#[derive(Debug)]
struct Turns {
    members: Vec<Member>,
    next: usize,
}

impl Balancer {
    /// A balancer that starts at the first server of each kind, with all of them well.
    pub fn new(group: &UpstreamGroup) -> Self {
        let (fall, rise) = group.health.as_ref().map_or((1, 1), |check| (check.fall, check.rise));
        let server = |(url, machine): (&ServerUrl, Machine)| Server {
            url: url.clone(),
            machine,
            health: Health::new(fall, rise),
        };
        Balancer {
            mode: group.mode,
            servers: group.servers.iter().zip(machines(&group.servers)).map(server).collect(),
            http: Turns::new(group, RequestKind::Http),
            web_socket: Turns::new(group, RequestKind::WebSocket),
        }
    }

    /// The server for a request: whose turn it is of those in the rotation, else of all, because a server that seems dead
    /// is better than none. `None`: no server has a fitting scheme, or none is left to try.
    pub fn choose(&mut self, wanted: &Wanted<'_>) -> Option<Member> {
        let turns = self.turns(wanted.kind);
        let (count, next) = (turns.members.len(), turns.next);
        let start = match self.mode {
            Balance::RoundRobin => next,
            Balance::Random => 0,
        };
        let in_turn: Vec<(usize, Member)> =
            (0..count).map(|step| (start + step) % count).map(|at| (at, turns.members[at])).collect();
        let mut usable = in_turn.clone();
        usable.retain(|(_, member)| {
            !wanted.tried.contains(member) && self.servers[member.0].health.is_usable(wanted.now)
        });
        let choice = match usable.is_empty() {
            true if wanted.tried.is_empty() => in_turn,
            _ => usable,
        };
        let (at, member) = match self.mode {
            Balance::RoundRobin => *choice.first()?,
            Balance::Random => *choice.get((wanted.random % choice.len().max(1) as u64) as usize)?,
        };
        if wanted.takes_turn {
            self.turns_mut(wanted.kind).next = (at + 1) % count;
        }
        Some(member)
    }

    /// Its URL.
    pub fn url(&self, member: Member) -> &ServerUrl {
        &self.servers[member.0].url
    }

    /// Where it runs.
    pub fn machine(&self, member: Member) -> Machine {
        self.servers[member.0].machine
    }

    /// The server of `kind` on `machine`.
    pub fn on(&self, machine: Machine, kind: RequestKind) -> Option<Member> {
        let turns = self.turns(kind);
        turns.members.iter().copied().find(|member| self.servers[member.0].machine == machine)
    }

    /// Whether it is in the rotation.
    pub fn is_usable(&self, member: Member, now: Instant) -> bool {
        self.servers[member.0].health.is_usable(now)
    }

    /// Notes what was met at a server; the answer says what that changes.
    pub fn report(&mut self, member: Member, evidence: Evidence, now: Instant) -> Option<Change> {
        self.servers[member.0].health.report(evidence, now)
    }

    /// All of them.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        (0..self.servers.len()).map(Member)
    }

    fn turns(&self, kind: RequestKind) -> &Turns {
        match kind {
            RequestKind::Http => &self.http,
            RequestKind::WebSocket => &self.web_socket,
        }
    }

    fn turns_mut(&mut self, kind: RequestKind) -> &mut Turns {
        match kind {
            RequestKind::Http => &mut self.http,
            RequestKind::WebSocket => &mut self.web_socket,
        }
    }
}

impl Turns {
    fn new(group: &UpstreamGroup, kind: RequestKind) -> Self {
        let fits = |(_, server): &(usize, &ServerUrl)| RequestKind::of(server.scheme) == kind;
        let members = group.servers.iter().enumerate().filter(fits).map(|(at, _)| Member(at));
        Turns { members: members.collect(), next: 0 }
    }
}

impl RequestKind {
    /// What a server with this scheme takes.
    pub fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http | Scheme::Https => RequestKind::Http,
            Scheme::Ws | Scheme::Wss => RequestKind::WebSocket,
        }
    }
}

/// The machine of each server: equal for the n-th http and the n-th ws server of one host.
fn machines(servers: &[ServerUrl]) -> Vec<Machine> {
    let mut known: Vec<(&str, usize)> = Vec::new();
    let mut machines = Vec::with_capacity(servers.len());
    for (at, server) in servers.iter().enumerate() {
        let kind = RequestKind::of(server.scheme);
        let alike = |other: &&ServerUrl| other.host == server.host && RequestKind::of(other.scheme) == kind;
        let place = (server.host.as_str(), servers[..at].iter().filter(alike).count());
        let machine = known.iter().position(|known| *known == place).unwrap_or_else(|| {
            known.push(place);
            known.len() - 1
        });
        machines.push(Machine(machine));
    }
    machines
}
