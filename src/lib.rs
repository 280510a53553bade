//! xrtc, the front door of WebRTC media servers.
//!
//! Two walks lead through this crate, and they meet in one place:
//!
//! * a packet: [`listener`] worker → [`classify`] → session table → [`forward`] → send batch
//! * an offer: [`http`] server → [`route`] → [`dialect`] finds the SDP → [`sdp`] rewrite → registration →
//!   upstream → dialect → sdp rewrite → response
//!
//! The meeting place is [`session::registration`]: what the offer/answer exchange tells the packet side.

pub mod admin;
pub mod app;
pub mod auth;
pub mod bench;
pub mod budget;
pub mod classify;
pub mod config;
pub mod demo;
pub mod dialect;
pub mod forward;
#[cfg(test)]
mod hostile;
pub mod http;
mod json_edit;
pub mod listener;
pub mod peer;
pub mod probe;
pub mod route;
pub mod sdp;
pub mod session;
pub mod signalling;
pub mod stun;
pub mod telemetry;
mod tls_client;
pub mod turn;
mod ws_frame;

#[doc(hidden)]
pub use ws_frame::fuzz as fuzz_websocket;
