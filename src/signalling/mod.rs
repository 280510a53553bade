//! Rooms that the edge serves itself: clients of existing room protocols find each other through it, without a change.
//!
//! Each protocol is a pure state machine in a file of its own ([`protocol`] says what that is); one shell does the rest for
//! all of them. A connection walks `http` (upgrade) → [`Hub::enter`] → `socket` (frames, pings, closes) → `hub` (the lock
//! around the protocol, its effects) → `outbox` of each receiver. `hooks` tells others, [`Rooms`] is what the operator sees.
//! No SDP is read here: media goes between the clients, or through whatever they agreed on.

mod bearers;
mod blueprints;
mod broker;
mod counters;
mod effects;
mod entry;
mod fuzzing;
mod gst;
mod hooks;
mod hub;
mod line_file;
mod link;
mod live;
mod notice;
mod outbox;
pub mod protocol;
mod query;
mod rooms;
mod settings;
mod socket;
mod token;
mod told;
mod webrtc_server;
mod webrtcsink;
#[cfg(test)]
mod world_tests;

pub use entry::Entry;
pub use fuzzing::fuzz;
pub use hub::Hub;
pub use link::{Conversation, Dialled, MediaServer};
pub use protocol::{Knock, Person, Refusal, ServerEvent};
pub use rooms::{Listed, PlannedRooms, Rooms};
pub use settings::RoomsError;
