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
    /// The number of the next machine that comes. Numbers of those that went are not given again.
    next_machine: usize,
    http: Turns,
    web_socket: Turns,
}

#[derive(Clone, Debug)]
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
        Self::build(group, &[], 0)
    }

    /// A balancer for the changed `group`: servers that stay keep their health, and machines who is at home there. Turns
    /// start afresh.
    pub fn renewed(&self, group: &UpstreamGroup) -> Self {
        Self::build(group, &self.servers, self.next_machine)
    }

    fn build(group: &UpstreamGroup, known: &[Server], mut next_machine: usize) -> Self {
        let (fall, rise) = group.health.as_ref().map_or((1, 1), |check| (check.fall, check.rise));
        let health = |url: &ServerUrl| match known.iter().find(|server| server.url == *url) {
            Some(server) => server.health.clone().judged_by(fall, rise),
            None => Health::new(fall, rise),
        };
        let machines = machines(&group.servers, known, &mut next_machine);
        let server =
            |(url, machine): (&ServerUrl, Machine)| Server { url: url.clone(), machine, health: health(url) };
        Balancer {
            mode: group.mode,
            servers: group.servers.iter().zip(machines).map(server).collect(),
            next_machine,
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

/// The machine of each server: equal for the n-th http and the n-th ws server of one host. A server that was there before
/// stays where it was.
fn machines(servers: &[ServerUrl], known: &[Server], next: &mut usize) -> Vec<Machine> {
    let before =
        |url: &ServerUrl| known.iter().find(|server| server.url == *url).map(|server| server.machine);
    let mut machines: Vec<Option<Machine>> = servers.iter().map(before).collect();
    for at in 0..servers.len() {
        if machines[at].is_none() {
            machines[at] = partner(servers, at).and_then(|partner| machines[partner]).or_else(|| {
                *next += 1;
                Some(Machine(*next))
            });
        }
    }
    machines.into_iter().flatten().collect()
}

/// The server of the other kind that is as many-th of its kind on this host.
fn partner(servers: &[ServerUrl], at: usize) -> Option<usize> {
    let is_alike =
        |other: &ServerUrl, kind| other.host == servers[at].host && RequestKind::of(other.scheme) == kind;
    let (own, other) = match RequestKind::of(servers[at].scheme) {
        RequestKind::Http => (RequestKind::Http, RequestKind::WebSocket),
        RequestKind::WebSocket => (RequestKind::WebSocket, RequestKind::Http),
    };
    let number = servers[..at].iter().filter(|server| is_alike(server, own)).count();
    let others = servers.iter().enumerate().filter(|(_, server)| is_alike(server, other));
    others.map(|(at, _)| at).nth(number)
}
