//! A leg against a backend of its own, in virtual time.

use super::agent::LOOKS_FOR;
use super::*;
use crate::session::registration::{Credentials, Mode, Origin, Owner, SessionId};
use crate::stun::{self, BindingRequest, ErrorCode, IceRole, Key};

const LOCAL: LocalSocket = LocalSocket { index: 3, addr: at([10, 0, 0, 1], 40_000) };
const BACKEND: SocketAddr = at([10, 0, 0, 2], 20_000);
const OTHER: SocketAddr = at([10, 0, 0, 3], 20_000);
const TICK: Duration = Duration::from_millis(50);

const fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])), port)
}

fn credentials(name: &str) -> Credentials {
    Credentials { ufrag: name.into(), pwd: format!("{name}-password-of-22-chars").into() }
}

fn registration(role: Role, backends: &[SocketAddr]) -> Arc<Registration> {
    let candidate = |addr: &SocketAddr| BackendCandidate {
        transport: CandidateTransport::Udp,
        addr: *addr,
        priority: 2_013_266_431,
    };
    Arc::new(Registration {
        session: SessionId(1),
        generation: 0,
        mode: Mode::HalfProxy,
        edge: credentials("edge"),
        client: credentials("client"),
        backend: credentials("backend"),
        role,
        prefer_tcp: false,
        candidates: backends.iter().map(candidate).collect(),
        origin: Arc::new(Origin { route: "test".into(), label: "test".into() }),
        owner: Arc::new(Owner::nobody()),
    })
}

struct World {
    leg: BackendLeg,
    now: Instant,
    /// Addresses where the backend answers.
    alive: Vec<SocketAddr>,
    checks: Vec<SocketAddr>,
    answers: usize,
}

impl World {
    fn new(role: Role, backends: &[SocketAddr]) -> World {
        let now = Instant::now();
        let registration = registration(role, backends);
        let mut leg = BackendLeg::new(now, [7; 20], registration.clone());
        leg.add_socket(now, LOCAL);
        for candidate in &registration.candidates {
            assert!(leg.add_remote(now, candidate));
        }
        World { leg, now, alive: backends.to_vec(), checks: Vec::new(), answers: 0 }
    }

    /// A leg at rest towards one backend address.
    fn at_rest(role: Role) -> World {
        let mut world = World::new(role, &[BACKEND]);
        world.run(Duration::from_millis(500));
        if role == Role::Controlled {
            assert!(world.leg.selected().is_none());
            assert!(world.request(BACKEND, IceRole::Controlling(9), true, "client"));
            world.run(Duration::from_millis(100));
        }
        assert!(world.leg.is_at_rest() && world.leg.selected().is_some());
        world
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            if self.now >= end {
                return;
            }
            self.now += TICK;
            self.leg.handle_timeout(self.now);
        }
    }

    /// Everything that the leg wants to send arrives, and is answered where the backend lives.
    fn exchange(&mut self) {
        while let Some((socket, to, bytes)) = self.leg.poll_transmit() {
            assert_eq!(socket, LOCAL.index);
            let message = Message::parse(&bytes).unwrap();
            if !message.is_binding(Class::Request) {
                self.answers += usize::from(message.is_binding(Class::Success));
                continue;
            }
            assert!(message.verify(&Key::short_term("backend-password-of-22-chars")).is_ok());
            assert_eq!(message.ufrags(), Some(("backend", "client")));
            self.checks.push(to);
            if self.alive.contains(&to) {
                let mut answer = [0; 256];
                let key = Key::short_term("backend-password-of-22-chars");
                let len = stun::binding_success(&mut answer, message.transaction_id(), LOCAL.addr, &key);
                self.receive(to, &answer[..len.unwrap()]);
            }
        }
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        self.leg.handle_stun(self.now, LOCAL, from, &Message::parse(bytes).unwrap()) != Taken::No
    }

    /// A check of the backend, signed with the password of `signed`.
    fn request(&mut self, from: SocketAddr, role: IceRole, nominates: bool, signed: &str) -> bool {
        let request = BindingRequest {
            receiver_ufrag: "client",
            sender_ufrag: "backend",
            priority: 1,
            role,
            use_candidate: nominates,
        };
        let key = Key::short_term(&format!("{signed}-password-of-22-chars"));
        let mut bytes = [0; 256];
        let len = stun::binding_request(&mut bytes, rand::random(), &request, &key).unwrap();
        self.receive(from, &bytes[..len])
    }
}

#[test]
fn a_leg_whose_path_is_nominated_rests_and_its_path_is_kept_for_an_hour() {
    for role in [Role::Controlling, Role::Controlled] {
        let mut world = World::at_rest(role);
        world.checks.clear();
        world.run(Duration::from_secs(3600));
        assert!(world.leg.is_at_rest() && !world.leg.is_dead(), "{role:?}");
        assert!((300..460).contains(&world.checks.len()), "{role:?}: {} checks", world.checks.len());
    }
}

#[test]
fn checks_of_the_backend_are_answered_at_rest_and_forged_ones_do_nothing() {
    let mut world = World::at_rest(Role::Controlling);
    world.answers = 0;
    assert!(world.request(BACKEND, IceRole::Controlled(9), false, "client"));
    world.exchange();
    assert_eq!(world.answers, 1);
    for (from, role) in [(BACKEND, IceRole::Controlled(9)), (OTHER, IceRole::Controlling(9))] {
        assert!(!world.request(from, role, true, "forged"));
    }
    world.exchange();
    assert!(world.leg.is_at_rest() && world.answers == 1);
}

#[test]
fn an_answer_to_a_check_that_is_over_is_the_backend_s_and_keeps_nothing_alive() {
    let mut world = World::at_rest(Role::Controlling);
    let answer = |password| {
        let mut bytes = [0; 256];
        let key = Key::short_term(password);
        let len = stun::binding_success(&mut bytes, [9; 12], LOCAL.addr, &key).unwrap();
        bytes[..len].to_vec()
    };
    let late = answer("backend-password-of-22-chars");
    assert!(world.receive(BACKEND, &late));
    assert!(!world.receive(BACKEND, &answer("client-password-of-22-chars")), "signed by somebody else");
    assert!(world.leg.is_at_rest());
    world.alive.clear();
    for _ in 0..40 {
        world.run(Duration::from_secs(1));
        assert!(world.receive(BACKEND, &late) || world.leg.is_dead());
    }
    assert!(world.leg.is_dead());
}

#[test]
fn a_backend_that_falls_silent_is_noticed_within_thirty_seconds_and_not_at_once() {
    for role in [Role::Controlling, Role::Controlled] {
        let mut world = World::at_rest(role);
        world.alive.clear();
        world.run(Duration::from_secs(5));
        assert!(!world.leg.is_dead(), "{role:?}");
        world.run(Duration::from_secs(25));
        assert!(world.leg.is_dead(), "{role:?}");
    }
}

#[test]
fn a_lost_answer_wakes_the_agent_and_media_stays_where_it_goes() {
    let mut world = World::at_rest(Role::Controlling);
    let path = world.leg.selected();
    world.alive.clear();
    while world.leg.is_at_rest() {
        world.run(TICK);
        assert_eq!(world.leg.selected(), path);
    }
    world.alive.push(BACKEND);
    world.run(Duration::from_secs(2));
    assert!(world.leg.is_at_rest() && !world.leg.is_dead());
    assert_eq!(world.leg.selected(), path);
}

#[test]
fn a_controlled_leg_that_was_woken_rests_again_without_another_nomination() {
    let mut world = World::at_rest(Role::Controlled);
    world.alive.clear();
    while world.leg.is_at_rest() {
        world.run(TICK);
    }
    world.alive.push(BACKEND);
    world.run(Duration::from_secs(2));
    assert!(world.leg.is_at_rest() && !world.leg.is_dead());
    world.run(Duration::from_secs(60));
    assert!(world.leg.is_at_rest() && !world.leg.is_dead());
}

#[test]
fn a_check_from_another_address_and_a_conflict_of_roles_are_the_agents() {
    let mut world = World::at_rest(Role::Controlled);
    world.alive.push(OTHER);
    assert!(world.request(OTHER, IceRole::Controlling(9), true, "client"));
    assert!(!world.leg.is_at_rest());
    world.run(Duration::from_secs(1));
    assert!(world.checks.contains(&OTHER));
    assert!(world.leg.is_proven(LOCAL.index, OTHER));

    let mut world = World::at_rest(Role::Controlled);
    // Ours is made of sevens, so the lower one yields: the backend is to control.
    world.request(BACKEND, IceRole::Controlled(u64::MAX), false, "client");
    assert!(!world.leg.is_at_rest());
    world.run(Duration::from_secs(1));
    assert!(!world.leg.is_dead() && world.leg.selected().is_some());
}

#[test]
fn an_error_of_the_backend_wakes_the_agent() {
    let mut world = World::at_rest(Role::Controlling);
    world.alive.clear();
    let check = loop {
        world.now += TICK;
        world.leg.handle_timeout(world.now);
        if let Some((_, _, bytes)) = world.leg.poll_transmit() {
            break bytes;
        }
    };
    let (id, key) = (Message::parse(&check).unwrap().transaction_id(), "backend-password-of-22-chars");
    let mut error = [0; 256];
    let unknown = std::iter::empty();
    let len = stun::binding_error(&mut error, id, ErrorCode::ROLE_CONFLICT, unknown, &Key::short_term(key));
    assert!(world.receive(BACKEND, &error[..len.unwrap()]));
    assert!(!world.leg.is_at_rest() && !world.leg.is_dead());
}

#[test]
fn with_several_addresses_the_agent_looks_for_a_while_and_candidates_that_come_late_wake_it() {
    let mut world = World::new(Role::Controlling, &[BACKEND, OTHER]);
    world.run(Duration::from_secs(5));
    assert!(world.leg.selected().is_some() && !world.leg.is_at_rest());
    world.run(LOOKS_FOR);
    assert!(world.leg.is_at_rest());

    let mut world = World::at_rest(Role::Controlling);
    world.alive.push(OTHER);
    let late = &registration(Role::Controlling, &[OTHER]).candidates[0];
    assert!(world.leg.add_remote(world.now, late));
    assert!(!world.leg.is_at_rest());
    world.run(Duration::from_secs(1));
    assert!(world.checks.contains(&OTHER));
}
