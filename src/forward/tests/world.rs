//! Virtual time and a virtual network around one forwarder: scripted clients, and backends with a real ICE agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};

use crate::config::Limits;
use crate::forward::{self, Destination, Forwarder, Received, Verdict, Via};
use crate::session::registration::{
    BackendCandidate, CandidateTransport, Command, Credentials, Mode, Origin, Owner, Registration, Role,
    SessionEventKind, SessionId,
};
use crate::stun::{self, BindingRequest, IceRole, Key, Message};

pub(super) const MEDIA: [u8; 40] = [0x80; 40];
pub(super) const DTLS: [u8; 60] = [22; 60];

pub(super) fn client_addr(n: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 5000 + n))
}

pub(super) fn creds(name: &str) -> Credentials {
    Credentials { ufrag: name.into(), pwd: format!("{name}-password-of-22-chars").into() }
}

/// A media server's ICE transport.
pub(super) struct Backend {
    pub(super) addr: SocketAddr,
    agent: IceAgent,
    pub(super) media: Vec<Vec<u8>>,
    pub(super) dead: bool,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) forwarder: Forwarder,
    pub(super) backends: Vec<Backend>,
    pub(super) events: Vec<SessionEventKind>,
    /// What left towards clients besides replies: (to, bytes).
    pub(super) to_clients: Vec<(SocketAddr, Vec<u8>)>,
    sockets: Vec<Option<SocketAddr>>,
    pub(super) opened: usize,
    /// TCP candidates that were dialled; nobody listens there.
    pub(super) dialled: Vec<SocketAddr>,
    serial: u64,
}

pub(super) fn random(seed: u64) -> forward::Random {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    Box::new(move |buffer| {
        for byte in buffer {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
    })
}

impl World {
    pub(super) fn new() -> Self {
        World::with(&Limits { sessions: 1000, stun: None, ..Limits::default() })
    }

    /// A world with such limits.
    pub(super) fn with(limits: &Limits) -> Self {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(forward::Setup {
            worker: 0,
            listeners: vec![SocketAddr::from(([203, 0, 113, 1], 6000))],
            max_sessions: 1000,
            random: random(1),
            now,
        });
        forwarder.set_limits(now, limits);
        World {
            now,
            forwarder,
            backends: vec![],
            events: vec![],
            to_clients: vec![],
            sockets: vec![],
            opened: 0,
            dialled: vec![],
            serial: 0,
        }
    }

    /// A registration for session `n`, generation `g`; credentials are named after both.
    pub(super) fn registration(&self, n: u64, g: u32, role: Role, backend: &[SocketAddr]) -> Registration {
        let candidate = |addr: &SocketAddr| BackendCandidate {
            transport: CandidateTransport::Udp,
            addr: *addr,
            priority: 2_013_266_431,
        };
        Registration {
            session: SessionId(n),
            generation: g,
            mode: Mode::HalfProxy,
            edge: creds(&format!("edge{n}x{g}")),
            client: creds(&format!("client{n}x{g}")),
            backend: creds(&format!("backend{n}x{g}")),
            role,
            prefer_tcp: false,
            candidates: backend.iter().map(candidate).collect(),
            origin: Arc::new(Origin { route: "janus".into(), label: "test".into() }),
            owner: Arc::new(Owner::nobody()),
        }
    }

    pub(super) fn register(&mut self, registration: Registration) -> Arc<Registration> {
        let registration = Arc::new(registration);
        self.command(Command::Register(registration.clone()));
        registration
    }

    pub(super) fn command(&mut self, command: Command) {
        self.forwarder.command(self.now, command);
        self.exchange();
    }

    /// A backend for a registration, which like Janus behind the edge was told no candidate.
    pub(super) fn backend(&mut self, registration: &Registration, addr: SocketAddr) -> usize {
        let creds = |c: &Credentials| IceCreds { ufrag: c.ufrag.to_string(), pass: c.pwd.to_string() };
        let mut agent = IceAgent::new(creds(&registration.backend));
        agent.set_remote_credentials(creds(&registration.client));
        agent.set_controlling(registration.role == Role::Controlled);
        agent.add_local_candidate(Candidate::host(addr, Protocol::Udp).expect("candidate"));
        agent.handle_timeout(self.now);
        self.backends.push(Backend { addr, agent, media: vec![], dead: false });
        self.backends.len() - 1
    }

    /// Session `n` with its backend, client connected from `client_addr(n)`.
    pub(super) fn connected(&mut self, n: u16) -> (Arc<Registration>, usize) {
        let addr = SocketAddr::from(([10, 0, 0, 2], 20_000 + n));
        let registration = self.register(self.registration(n.into(), 0, Role::Controlling, &[addr]));
        let backend = self.backend(&registration, addr);
        assert!(matches!(self.check(&registration, client_addr(n), true), Verdict::Reply { .. }));
        self.run(Duration::from_millis(300));
        (registration, backend)
    }

    pub(super) fn check_bytes(&mut self, registration: &Registration, key: &str) -> Vec<u8> {
        self.check_bytes_with(registration, key, true)
    }

    pub(super) fn check_bytes_with(
        &mut self,
        registration: &Registration,
        key: &str,
        nominate: bool,
    ) -> Vec<u8> {
        self.serial += 1;
        let mut id = [7; 12];
        id[4..].copy_from_slice(&self.serial.to_be_bytes());
        let request = BindingRequest {
            receiver_ufrag: &registration.edge.ufrag,
            sender_ufrag: &registration.client.ufrag,
            priority: 1_853_824_767,
            role: IceRole::Controlling(42),
            use_candidate: nominate,
        };
        let mut buffer = [0; 512];
        let len = stun::binding_request(&mut buffer, id, &request, &Key::short_term(key)).expect("fits");
        buffer[..len].to_vec()
    }

    pub(super) fn check(&mut self, registration: &Registration, from: SocketAddr, nominate: bool) -> Verdict {
        let bytes = self.check_bytes_with(registration, &registration.edge.pwd, nominate);
        self.client_sends(from, &bytes)
    }

    pub(super) fn client_sends(&mut self, from: SocketAddr, bytes: &[u8]) -> Verdict {
        let received = Received { via: Via::Listener(0), from, local: None };
        let mut reply = [0; stun::BINDING_RESPONSE_MAX];
        let verdict = self.forwarder.handle(self.now, received, bytes, &mut reply);
        match verdict {
            Verdict::Forward(to) => self.deliver(to, bytes),
            Verdict::Reply { len, to } => {
                assert!(len <= bytes.len() + 24, "an answer is hardly larger than its question");
                assert_eq!(to, Destination { via: Via::Listener(0), to: from, local: None });
                let answer = Message::parse(&reply[..len]).expect("a STUN answer");
                assert_eq!(answer.check_fingerprint(), stun::Fingerprint::Good);
            }
            _ => {}
        }
        self.exchange();
        verdict
    }

    pub(super) fn backend_sends(&mut self, backend: usize, socket: u16, bytes: &[u8]) -> Verdict {
        let from = self.backends[backend].addr;
        let received = Received { via: Via::Backend(socket), from, local: None };
        let verdict = self.forwarder.handle(self.now, received, bytes, &mut [0; 256]);
        if let Verdict::Forward(to) = verdict {
            self.deliver(to, bytes);
        }
        self.exchange();
        verdict
    }

    /// The client answers the edge's own checks that reached `at`.
    pub(super) fn answer_probes(&mut self, registration: &Registration, at: SocketAddr) -> usize {
        let probes: Vec<_> =
            self.to_clients.iter().filter(|(to, _)| *to == at).map(|(_, b)| b.clone()).collect();
        self.to_clients.retain(|(to, _)| *to != at);
        for probe in &probes {
            let message = Message::parse(probe).expect("a check");
            let key = Key::short_term(&registration.client.pwd);
            assert_eq!(message.verify(&key), Ok(()));
            let (receiver, sender) = message.ufrags().expect("username");
            assert_eq!((receiver, sender), (&*registration.client.ufrag, &*registration.edge.ufrag));
            let mut buffer = [0; 256];
            let edge = SocketAddr::from(([203, 0, 113, 1], 6000));
            let len = stun::binding_success(&mut buffer, message.transaction_id(), edge, &key).expect("fits");
            self.client_sends(at, &buffer[..len]);
        }
        probes.len()
    }

    /// Lets time pass, timers fire and agents talk.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::from_millis(10);
            self.forwarder.handle_timeout(self.now);
            for backend in self.backends.iter_mut().filter(|b| !b.dead) {
                if backend.agent.poll_timeout().is_some_and(|at| at <= self.now) {
                    backend.agent.handle_timeout(self.now);
                }
            }
            self.exchange();
        }
    }

    fn exchange(&mut self) {
        for _ in 0..100 {
            let mut idle = true;
            while let Some(request) = self.forwarder.poll_socket_request() {
                idle = false;
                if request.transport == CandidateTransport::TcpPassive {
                    self.dialled.push(request.toward);
                    self.forwarder.socket_failed(self.now, request);
                    continue;
                }
                self.opened += 1;
                let local = SocketAddr::from(([10, 0, 0, 1], 40_000 + self.opened as u16));
                let socket = self.forwarder.socket_opened(self.now, request, local);
                let index = usize::from(socket.index);
                self.sockets.resize(self.sockets.len().max(index + 1), None);
                self.sockets[index] = Some(local);
            }
            while let Some(transmit) = self.forwarder.poll_transmit() {
                self.deliver(transmit.to, &transmit.bytes);
                idle = false;
            }
            while let Some(index) = self.forwarder.poll_idle_socket() {
                self.sockets[usize::from(index)] = None;
            }
            while let Some(event) = self.forwarder.poll_event() {
                self.events.push(event.kind);
            }
            idle &= !self.backends_talk();
            if idle {
                return;
            }
        }
        panic!("the agents never come to rest");
    }

    fn backends_talk(&mut self) -> bool {
        let mut packets = Vec::new();
        for backend in self.backends.iter_mut().filter(|b| !b.dead) {
            while let Some(transmit) = backend.agent.poll_transmit() {
                packets.push((backend.addr, transmit.destination, Vec::from(transmit.contents)));
            }
        }
        for (from, to, bytes) in &packets {
            let Some(socket) = self.sockets.iter().position(|local| local == &Some(*to)) else { continue };
            let received = Received { via: Via::Backend(socket as u16), from: *from, local: None };
            if let Verdict::Forward(to) = self.forwarder.handle(self.now, received, bytes, &mut [0; 256]) {
                self.deliver(to, bytes);
            }
        }
        !packets.is_empty()
    }

    fn deliver(&mut self, to: Destination, bytes: &[u8]) {
        let Via::Backend(socket) = to.via else {
            self.to_clients.push((to.to, bytes.to_vec()));
            return;
        };
        let source = self.sockets[usize::from(socket)].expect("an open socket");
        let (now, addr) = (self.now, to.to);
        for backend in self.backends.iter_mut().filter(|b| b.addr == addr && !b.dead) {
            if !stun::is_stun(bytes) {
                backend.media.push(bytes.to_vec());
                continue;
            }
            let message = StunMessage::parse(bytes).expect("the edge speaks STUN");
            let packet = StunPacket { proto: Protocol::Udp, source, destination: addr, message };
            if backend.agent.handle_packet(now, packet) {
                backend.agent.handle_timeout(now);
            }
        }
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    pub(super) fn was_connected(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, SessionEventKind::Connected { .. })).count()
    }

    pub(super) fn ends(&self) -> Vec<&'static str> {
        let label = |event: &SessionEventKind| match event {
            SessionEventKind::Ended { reason, .. } => Some(reason.label()),
            _ => None,
        };
        self.events.iter().filter_map(label).collect()
    }
}
