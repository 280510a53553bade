//! \[pure\] The TURN server (RFC 8656) as a state machine: a packet in, a verdict out.
//!
//! Decides who gets a relay, which peers it reaches, and where each packet goes. It never opens a socket, waits, or reads a
//! clock: [`Outside`] opens relays, the shell sends what a [`Verdict`] names from its own buffer, and `now` is an argument. No
//! state exists before a valid credential, no packet costs more with more allocations, and nothing is copied.

mod allocation;
mod authenticate;
mod challenge;
mod counters;
mod from_peer;
mod fuzz;
mod lifetimes;
mod listed;
mod nonce;
mod notices;
mod outside;
mod peers;
mod policy;
mod requests;
mod server;
pub mod wire;

pub use allocation::{CHANNEL_LIFETIME, Client, MOST_PEERS, PERMISSION_LIFETIME, Transport, Way};
pub use challenge::{Realm, SHORT_REALM};
pub use counters::{AuthResult, Counters, Flow, Traffic, TurnDrop};
pub use from_peer::FromPeer;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use listed::Listed;
pub use nonce::{Nonces, WINDOW};
pub use notices::Notice;
pub use outside::{Family, Full, NoRelay, Opened, Outside, Relay, RelayId, Wish};
pub use peers::{Denial, Peers, Permitted, embedded};
pub use policy::Policy;
pub use server::{Server, Setup, Verdict};
