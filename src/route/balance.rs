//! \[pure\] Which server of an upstream group takes a request (xrtc.md §2).
//!
//! HTTP requests go to http and https servers, upgrades to ws and wss servers, and each kind takes its own turns. Health
//! and stickiness are not known here.

use crate::config::{Balance, Scheme, ServerUrl, UpstreamGroup};

/// What a server must be able to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A plain HTTP request.
    Http,
    /// A WebSocket upgrade.
    WebSocket,
}

/// The servers of a group and whose turn it is.
#[derive(Debug)]
pub struct Balancer {
    mode: Balance,
    http: Turns,
    web_socket: Turns,
}

#[derive(Debug)]
struct Turns {
    servers: Vec<ServerUrl>,
    next: usize,
}

impl Balancer {
    /// A balancer that starts at the first server of each kind.
    pub fn new(group: &UpstreamGroup) -> Self {
        Balancer {
            mode: group.mode,
            http: Turns::new(group, RequestKind::Http),
            web_socket: Turns::new(group, RequestKind::WebSocket),
        }
    }

    /// The server for the next request of `kind`; `random` is used by `mode: random` alone. `None`: no server of the
    /// group has a fitting scheme.
    pub fn choose(&mut self, kind: RequestKind, random: u64) -> Option<&ServerUrl> {
        let turns = match kind {
            RequestKind::Http => &mut self.http,
            RequestKind::WebSocket => &mut self.web_socket,
        };
        let count = turns.servers.len();
        if count == 0 {
            return None;
        }
        let at = match self.mode {
            Balance::RoundRobin => turns.take_turn(),
            Balance::Random => (random % count as u64) as usize,
        };
        turns.servers.get(at)
    }
}

impl Turns {
    fn new(group: &UpstreamGroup, kind: RequestKind) -> Self {
        let fits = |server: &&ServerUrl| RequestKind::of(server.scheme) == kind;
        Turns { servers: group.servers.iter().filter(fits).cloned().collect(), next: 0 }
    }

    fn take_turn(&mut self) -> usize {
        let at = self.next;
        self.next = (at + 1) % self.servers.len();
        at
    }
}

impl RequestKind {
    fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http | Scheme::Https => RequestKind::Http,
            Scheme::Ws | Scheme::Wss => RequestKind::WebSocket,
        }
    }
}
