//! \[pure\] The agent of a backend leg: made of what was registered, gone once nothing is left to find, back where consent is not
//! enough.
//!
//! Decides when a leg has an agent, and takes from it what it found. Never decides what is said to the backend, which is the
//! agent's and [`Consent`]'s business, nor which of the backend's addresses may send media.

use std::time::{Duration, Instant};

use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds};

use super::consent::{Consent, Due, tie_breaker};
use super::{BackendLeg, BackendPath, Keeper, Liveness, Remote, Seed};
use crate::session::registration::{BackendCandidate, CandidateTransport, Credentials, Registration};

/// How long an agent goes on looking for a better path where the backend has several addresses.
pub(super) const LOOKS_FOR: Duration = Duration::from_secs(10);

impl BackendLeg {
    /// The agent goes once there is nothing more to find: its path answers, and there is no other, or long enough was looked
    /// for a better one.
    pub(super) fn rest(&mut self, now: Instant) {
        let (Keeper::Agent(agent), Some(path), Liveness::Alive) = (&self.keeper, self.selected, self.state)
        else {
            return;
        };
        let answers = |it: &Remote| it.addr == path.remote && it.socket == path.socket.index && it.answered;
        let looked = self.remotes.len() == 1 || now.saturating_duration_since(self.since) >= LOOKS_FOR;
        if self.sockets.len() != 1 || !looked || !self.remotes.iter().any(answers) {
            return;
        }
        let consent = Consent::new(now, self.seed, path, agent.controlling());
        let mut unsent: Vec<_> = std::iter::from_fn(|| self.poll_transmit()).collect();
        // They are taken from the end.
        unsent.reverse();
        (self.keeper, self.since, self.unsent) = (Keeper::Rest(consent), now, unsent);
        self.ask(now);
    }

    /// Keeps the path of a leg at rest; an agent comes where it is silent.
    pub(super) fn ask(&mut self, now: Instant) {
        let Keeper::Rest(consent) = &mut self.keeper else { return };
        match consent.handle_timeout(now, &self.registration) {
            Due::Nothing => {}
            Due::Check(check) => {
                let path = consent.path;
                self.unsent.insert(0, (path.socket.index, path.remote, check));
            }
            Due::Silence => {
                self.wake(now).handle_timeout(now);
                self.take_events();
            }
        }
    }

    /// The agent, which comes again with all that is known. Media stays where it goes until the agent finds a better way.
    pub(super) fn wake(&mut self, now: Instant) -> &mut IceAgent {
        if let Keeper::Rest(consent) = &self.keeper {
            let mut agent = new_agent(&self.registration, &self.seed, consent.controlling);
            let locals = self.sockets.iter();
            for local in locals.filter_map(|it| Candidate::host(it.local.addr, it.protocol()).ok()) {
                agent.add_local_candidate(local);
            }
            for (index, remote) in self.remotes.iter_mut().enumerate() {
                remote.answered = false;
                let tcp = self.sockets.iter().any(|it| it.local.index == remote.socket && it.tcp.is_some());
                let transport = if tcp { CandidateTransport::TcpPassive } else { CandidateTransport::Udp };
                let candidate = BackendCandidate { transport, addr: remote.addr, priority: remote.priority };
                if let Ok(candidate) = parsed(&candidate, index + 1) {
                    agent.add_remote_candidate(candidate);
                }
            }
            agent.handle_timeout(now);
            (self.keeper, self.since) = (Keeper::Agent(agent), now);
        }
        match &mut self.keeper {
            Keeper::Agent(agent) => agent,
            Keeper::Rest(_) => unreachable!("an agent was put in"),
        }
    }

    /// What the agent found: the path that is nominated, or that nobody answers any more.
    pub(super) fn take_events(&mut self) {
        loop {
            let Keeper::Agent(agent) = &mut self.keeper else { return };
            let Some(event) = agent.poll_event() else { return };
            match event {
                IceAgentEvent::NominatedSend { proto, source, destination } => {
                    let Some(socket) = self.socket_of(proto, source) else { continue };
                    self.selected = Some(BackendPath { socket: socket.local, remote: destination });
                    self.state = Liveness::Alive;
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected)
                    if self.state == Liveness::Alive =>
                {
                    self.state = Liveness::Dead;
                }
                _ => {}
            }
        }
    }
}

pub(super) fn new_agent(registration: &Registration, seed: &Seed, controlling: bool) -> Box<IceAgent> {
    let mut agent = Box::new(IceAgent::new(creds(&registration.client)));
    agent.set_remote_credentials(creds(&registration.backend));
    agent.set_controlling(controlling);
    agent.set_control_tie_breaker(tie_breaker(seed));
    agent
}

/// The agent's own form of a candidate. What kind it is does not matter to the edge, its priority does.
pub(super) fn parsed(candidate: &BackendCandidate, foundation: usize) -> Result<Candidate, is::IceError> {
    let (ip, port, priority) = (candidate.addr.ip(), candidate.addr.port(), candidate.priority);
    Candidate::from_sdp_string(&match candidate.transport {
        CandidateTransport::Udp => format!("candidate:{foundation} 1 udp {priority} {ip} {port} typ host"),
        CandidateTransport::TcpPassive => {
            format!("candidate:{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive")
        }
    })
}

fn creds(of: &Credentials) -> IceCreds {
    IceCreds { ufrag: of.ufrag.to_string(), pass: of.pwd.to_string() }
}
