//! What signalling tells the packet side of one session, for tests that start there, and a check that fits it.

use std::net::SocketAddr;
use std::sync::Arc;

use xrtc::session::registration::{
    BackendCandidate, CandidateTransport, Credentials, Mode, Origin, Owner, Registration, Role, SessionId,
};
use xrtc::stun::{self, BindingRequest, IceRole, Key};

/// Session `n`, whose backend listens for UDP at `backends`. In transparent mode the edge has the backend's credentials.
pub(crate) fn registration(n: u64, mode: Mode, backends: &[SocketAddr]) -> Registration {
    let credentials = |name: &str| Credentials {
        ufrag: format!("{name}{n}").into(),
        pwd: format!("{name}-password-of-session-{n}").into(),
    };
    let candidate =
        |addr: &SocketAddr| BackendCandidate { transport: CandidateTransport::Udp, addr: *addr, priority: 1 };
    Registration {
        session: SessionId(n),
        generation: 0,
        mode,
        edge: credentials(if mode == Mode::Transparent { "backend" } else { "edge" }),
        client: credentials("client"),
        backend: credentials("backend"),
        role: Role::Controlling,
        prefer_tcp: false,
        candidates: backends.iter().map(candidate).collect(),
        origin: Arc::new(Origin { route: "test".into(), label: "test".into() }),
        owner: Arc::new(Owner::nobody()),
    }
}

/// A nominating check of the client's.
pub(crate) fn check(registration: &Registration) -> Vec<u8> {
    let request = BindingRequest {
        receiver_ufrag: &registration.edge.ufrag,
        sender_ufrag: &registration.client.ufrag,
        priority: 1,
        role: IceRole::Controlling(7),
        use_candidate: true,
    };
    let mut bytes = vec![0; 512];
    let key = Key::short_term(&registration.edge.pwd);
    let len = stun::binding_request(&mut bytes, rand::random(), &request, &key).unwrap();
    bytes.truncate(len);
    bytes
}
