//! Which candidate of a transport answers: all of them are checked at once, the first in the server's order is taken.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Run;
use crate::probe::candidates::{self, Remote, RemoteHost};
use crate::probe::checks::{self, Credentials};
use crate::probe::facts::{AttemptState, Outcome, PathFacts, PathState, Transport};
use crate::probe::journal::{clean, millis, shown};
use crate::probe::path::Path;
use crate::probe::reach::Server;
use crate::probe::verdict::{self, Place};

impl Run<'_> {
    /// Checks all candidates at once; returns the row and the path of the first in the server's order that answers.
    pub(super) async fn check(
        &mut self,
        transport: Transport,
        list: &[Remote],
        credentials: &Credentials,
        server: &Server,
        bound: Option<UdpSocket>,
    ) -> Option<(usize, Path)> {
        self.journal.waits_for(format!("answers to {} checks", transport.name()));
        let signalling = server.addr.ip();
        let mut bound = bound;
        let first = self.attempts.len() - 1;
        self.attempts[first].paths = list.iter().map(|remote| remote.row(signalling)).collect();
        let mut running: FuturesUnordered<_> = list
            .iter()
            .enumerate()
            .map(|(row, remote)| {
                let suits =
                    matches!(remote.host, RemoteHost::Ip(ip) if ip.is_ipv4() == server.local.is_ipv4());
                let socket = if suits { bound.take() } else { None };
                let facts = remote.row(signalling);
                async move {
                    let (facts, path) = check_one(transport, remote, credentials, facts, socket).await;
                    (row, facts, path)
                }
            })
            .collect();
        let mut best: Option<(usize, Path)> = None;
        while let Some((row, facts, path)) = running.next().await {
            self.show_path(transport, &facts);
            let answers = facts.state == PathState::Answers;
            self.attempts[first].paths[row] = facts;
            if let Some(path) = path.filter(|_| answers)
                && best.as_ref().is_none_or(|(known, _)| row < *known)
            {
                best = Some((row, path));
            }
        }
        best
    }

    fn show_path(&mut self, transport: Transport, facts: &PathFacts) {
        let at = format!("{} {}", transport.name(), facts.candidate);
        let outcome = match facts.state {
            PathState::Answers => Outcome::Ok,
            PathState::NoTls | PathState::NoRoute => Outcome::Info,
            _ => Outcome::Fail,
        };
        let rtt = facts.rtt_ms.map(|rtt| format!(", {}", shown(rtt))).unwrap_or_default();
        self.journal.note(transport.step(), outcome, format!("{at}: {}{rtt}", verdict::outcome(facts)));
        if let Some(why) = facts.browsers.filter(|_| facts.state == PathState::Answers) {
            self.journal.warn(transport.step(), format!("{at} works from here, not from browsers: {why}"));
        }
    }

    pub(super) fn no_path(&mut self, transport: Transport, server: &Server) {
        let address = server.addr.ip().to_string();
        let place = Place { address: &address, scope: candidates::scope(server.addr.ip()) };
        let paths = self.attempts.last().map(|attempt| attempt.paths.clone()).unwrap_or_default();
        // Plain ICE-TCP without TLS around it is nothing that somebody promised.
        let no_tls = paths.iter().any(|path| path.state == PathState::NoTls);
        match no_tls {
            true => self.ends(AttemptState::NotOffered, None),
            false => self.ends(AttemptState::Failed, Some(verdict::no_path(transport, &paths, place))),
        }
    }
}

async fn check_one(
    transport: Transport,
    remote: &Remote,
    credentials: &Credentials,
    mut facts: PathFacts,
    bound: Option<UdpSocket>,
) -> (PathFacts, Option<Path>) {
    let addr = match address(remote).await {
        Ok(addr) => addr,
        Err(why) => {
            facts.state = PathState::NoAddress;
            facts.detail = Some(why);
            return (facts, None);
        }
    };
    let start = Instant::now();
    match Path::open(transport, addr, bound).await {
        Ok(mut path) => {
            facts.connect_ms = (transport != Transport::Udp).then(|| millis(start.elapsed()));
            checks::check(&mut path, credentials, &mut facts).await;
            (facts, Some(path))
        }
        Err(closed) => {
            facts.state = closed.state;
            facts.detail = Some(closed.detail);
            (facts, None)
        }
    }
}

async fn address(remote: &Remote) -> Result<SocketAddr, String> {
    match &remote.host {
        RemoteHost::Ip(ip) => Ok(SocketAddr::new(*ip, remote.port)),
        RemoteHost::Name(name) if name.to_ascii_lowercase().ends_with(".local") => {
            Err("an mDNS name, which is known in its own network at most".to_owned())
        }
        RemoteHost::Name(name) => {
            let found = timeout(Duration::from_secs(3), lookup_host((name.as_str(), remote.port))).await;
            let mut found = found
                .map_err(|_| "the name server does not answer".to_owned())?
                .map_err(|error| clean(&error.to_string()))?;
            found.next().ok_or_else(|| "a name without an address".to_owned())
        }
    }
}
