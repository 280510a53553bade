//! What is told of a session to whoever asks: its story, copied out, and its packets while they pass.

use std::net::SocketAddr;
use std::time::Instant;

use super::tables::{Here, Known};
use super::{Destination, Forwarder, Received, Via};
use crate::session::backend_leg::BackendPath;
use crate::session::client_leg::ClientAddr;
use crate::session::observe::{Captured, Direction, Leg, Milestone, Milestones, Observed, StreamReport, Tap};
use crate::session::registration::{EndReason, Registration, SessionId, Traffic};
use crate::session::story::{BackendTry, ClientPath, Stage, Story};

impl Forwarder {
    /// What this worker knows of a session: all of it where the session is here, else what was registered.
    pub fn story(&mut self, now: Instant, id: SessionId) -> Option<Story> {
        let known = self.tables.known.get(&id)?;
        match known.here {
            Some(here) => self.story_of(now, here),
            None => {
                let Known { since, registrations, .. } = known;
                Some(story_without_client(registrations.last()?, *since, now))
            }
        }
    }

    /// Shows the packets of a session that is served here to `tap`; whether it is.
    pub fn tap(&mut self, id: SessionId, tap: Tap) -> bool {
        let here = self.tables.known.get(&id).and_then(|known| known.here);
        let Some(observed) = here.and_then(|here| self.observed(here)) else { return false };
        observed.set_tap(tap);
        self.latest = None;
        true
    }

    pub(super) fn note(&mut self, now: Instant, here: Here, milestone: Milestone) {
        let tick = self.clock.tick(now);
        if let Some(observed) = self.observed(here) {
            observed.note(tick, milestone);
        }
    }

    /// A check named a session and did not know its password.
    pub(super) fn note_forged(&mut self, now: Instant, registration: &Registration) {
        let Some(known) = self.tables.known.get(&registration.session) else { return };
        let millis = now.saturating_duration_since(known.since).as_millis();
        registration.owner.note_forged(u32::try_from(millis).unwrap_or(u32::MAX));
    }

    /// Shows a packet to whoever looks on.
    pub(super) fn show(&mut self, here: Here, leg: Leg, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(observed) = self.observed(here)
            && observed.is_tapped()
        {
            observed.show(&Captured { leg, from, to, bytes });
        }
    }

    /// Shows a packet of the client on both legs.
    #[cold]
    pub(super) fn show_up(
        &mut self,
        here: Here,
        listener: u16,
        received: Received,
        path: BackendPath,
        bytes: &[u8],
    ) {
        let at = ClientAddr { listener, remote: received.from, local: received.local };
        self.show_both(here, at, path, Direction::Up, bytes);
    }

    /// The same of the backend.
    #[cold]
    pub(super) fn show_down(
        &mut self,
        here: Here,
        socket: u16,
        received: Received,
        client: ClientAddr,
        bytes: &[u8],
    ) {
        let ours = self.socket_address(socket, received.from);
        self.show(here, Leg::Backend, received.from, ours, bytes);
        self.show(here, Leg::Client, self.address_towards(client), client.remote, bytes);
    }

    /// Shows a packet that passes on both legs, in the order of its way.
    #[cold]
    pub(super) fn show_both(
        &mut self,
        here: Here,
        at: ClientAddr,
        path: BackendPath,
        direction: Direction,
        bytes: &[u8],
    ) {
        let ours = self.address_towards(at);
        match direction {
            Direction::Up => {
                self.show(here, Leg::Client, at.remote, ours, bytes);
                self.show(here, Leg::Backend, path.socket.addr, path.remote, bytes);
            }
            Direction::Down => {
                self.show(here, Leg::Backend, path.remote, path.socket.addr, bytes);
                self.show(here, Leg::Client, ours, at.remote, bytes);
            }
        }
    }

    /// The address of ours that a client speaks to.
    pub(super) fn listener_address(&self, client: Destination) -> SocketAddr {
        let Via::Listener(index) = client.via else { return client.to };
        let mut listener = self.listeners.get(usize::from(index)).copied().unwrap_or(client.to);
        if let Some(ip) = client.local {
            listener.set_ip(ip);
        }
        listener
    }

    /// The address of a backend-facing socket.
    pub(super) fn socket_address(&self, socket: u16, or: SocketAddr) -> SocketAddr {
        self.backend_sockets.get(usize::from(socket)).and_then(Option::as_ref).map_or(or, |it| it.local.addr)
    }

    /// The story of a session that ends; nobody is left to read it when the edge stops.
    pub(super) fn last_story(&mut self, now: Instant, here: Here, reason: EndReason) -> Option<Box<Story>> {
        if reason == EndReason::Shutdown {
            return None;
        }
        self.story_of(now, here).map(Box::new)
    }

    fn story_of(&mut self, now: Instant, here: Here) -> Option<Story> {
        match here {
            Here::Half(key) => {
                let listeners = &self.listeners;
                let session = self.tables.sessions.get_mut(key.0)?;
                let clients = session.client.overview().map(|(at, proven, selected)| ClientPath {
                    remote: at.remote,
                    local: towards(listeners, at),
                    proven,
                    selected,
                });
                let clients = clients.collect();
                let backends = session.generations().flat_map(|generation| generation.overview()).collect();
                let stage = if session.connected { Stage::Connected } else { Stage::Connecting };
                let (traffic, since) = (session.traffic, session.registered);
                let registration = session.newest().registration.clone();
                let session = self.tables.sessions.get(key.0)?;
                let told = blank(since, now, &registration);
                let observed = self.observations(now, &session.observed, &registration);
                Some(Story { stage, clients, backends, traffic, ..merged(told, observed) })
            }
            Here::Through(key) => {
                let through = self.tables.throughs.get(key.0)?;
                let registration = through.registration()?;
                let stage = if through.is_connected() { Stage::Connected } else { Stage::Connecting };
                let clients = through.flows().map(|(_, flow)| ClientPath {
                    remote: flow.at.remote,
                    local: self.address_towards(flow.at),
                    proven: flow.may_carry(),
                    selected: flow.may_carry(),
                });
                let told = blank(through.registered, now, registration);
                let observed = self.observations(now, &through.observed, registration);
                Some(Story {
                    stage,
                    clients: clients.collect(),
                    backends: through.overview(),
                    traffic: through.traffic,
                    ..merged(told, observed)
                })
            }
        }
    }

    fn observations(&self, now: Instant, observed: &Observed, registration: &Registration) -> Observations {
        let tick = self.clock.at(now);
        Observations {
            worker: self.worker,
            milestones: with_forged(observed.milestones, registration),
            alerts: [observed.alert(Direction::Up), observed.alert(Direction::Down)],
            from_client: observed.from_client.streams(tick).collect(),
            from_backend: observed.from_backend.streams(tick).collect(),
        }
    }

    pub(super) fn observed(&mut self, here: Here) -> Option<&mut Observed> {
        Some(match here {
            Here::Half(key) => &mut self.tables.sessions.get_mut(key.0)?.observed,
            Here::Through(key) => &mut self.tables.throughs.get_mut(key.0)?.observed,
        })
    }

    fn address_towards(&self, at: ClientAddr) -> SocketAddr {
        self.listener_address(Destination { via: Via::Listener(at.listener), to: at.remote, local: at.local })
    }
}

/// The story of a session that no client has come for.
pub fn story_without_client(registration: &Registration, since: Instant, now: Instant) -> Story {
    let untried = registration.candidates.iter().map(|candidate| BackendTry {
        remote: candidate.addr,
        transport: candidate.transport,
        local: None,
        answered: false,
        selected: false,
    });
    Story {
        backends: untried.collect(),
        milestones: with_forged(Milestones::default(), registration),
        ..blank(since, now, registration)
    }
}

struct Observations {
    worker: u32,
    milestones: Milestones,
    alerts: [Option<u8>; 2],
    from_client: Vec<StreamReport>,
    from_backend: Vec<StreamReport>,
}

fn merged(told: Story, observed: Observations) -> Story {
    let Observations { worker, milestones, alerts, from_client, from_backend } = observed;
    Story { worker: Some(worker), milestones, alerts, from_client, from_backend, ..told }
}

/// What the registration alone says.
fn blank(since: Instant, now: Instant, registration: &Registration) -> Story {
    Story {
        session: registration.session,
        origin: registration.origin.clone(),
        mode: registration.mode,
        generation: registration.generation,
        worker: registration.owner.get(),
        stage: Stage::Waiting,
        age: now.saturating_duration_since(since),
        offer_before: registration.owner.offered().map(|offered| since.saturating_duration_since(offered)),
        milestones: Milestones::default(),
        alerts: [None; 2],
        clients: Vec::new(),
        backends: Vec::new(),
        traffic: Traffic::default(),
        from_client: Vec::new(),
        from_backend: Vec::new(),
    }
}

fn with_forged(mut milestones: Milestones, registration: &Registration) -> Milestones {
    milestones.set(Milestone::BadIntegrity, registration.owner.forged());
    milestones
}

fn towards(listeners: &[SocketAddr], at: ClientAddr) -> SocketAddr {
    let mut listener = listeners.get(usize::from(at.listener)).copied().unwrap_or(at.remote);
    if let Some(ip) = at.local {
        listener.set_ip(ip);
    }
    listener
}
