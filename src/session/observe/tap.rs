//! \[pure\] The packets of one session, shown to whoever asked for them while they pass.

use std::fmt;
use std::net::SocketAddr;

/// Which side of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Between client and edge.
    Client,
    /// Between edge and backend.
    Backend,
}

/// One packet on one leg.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'p> {
    /// Where it was seen.
    pub leg: Leg,
    /// Its sender there.
    pub from: SocketAddr,
    /// Its receiver there.
    pub to: SocketAddr,
    /// UDP payload, or one frame of a TCP connection.
    pub bytes: &'p [u8],
}

/// Whoever sees the packets of a session. It must not block.
pub struct Tap(Viewer);

type Viewer = Box<dyn FnMut(&Captured<'_>) -> bool + Send>;

impl Tap {
    /// `viewer` is called with every packet until it says `false`.
    pub fn new(viewer: impl FnMut(&Captured<'_>) -> bool + Send + 'static) -> Self {
        Tap(Box::new(viewer))
    }

    pub(super) fn show(&mut self, packet: &Captured<'_>) -> bool {
        (self.0)(packet)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}
