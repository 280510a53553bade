//! \[shell\] HTTP: server, reverse proxy and WebSocket proxy.
//!
//! A request walks `server` → `proxy` (route → request dialect → upstream choice → headers → send → response dialect), an
//! upgrade goes on to `websocket` and `ws_relay`; `rest` answers registrations itself. What a message means is decided in [`crate::dialect`], where a request
//! goes in [`crate::route`]; nothing here knows SDP or ICE.

mod answer;
mod body;
mod budgets;
mod checks;
mod coding;
mod conversation;
mod current;
mod dial;
mod files;
mod forwarded;
mod forwarding;
mod headers;
mod location;
mod media_server;
mod pools;
mod proxy;
mod requests;
mod rest;
mod rooms;
mod routing;
mod served_route;
mod server;
mod service;
mod session_urls;
mod sound;
mod turn_credentials;
mod upstream;
mod upstream_tls;
mod websocket;
mod ws_relay;

pub use budgets::Budgets;
pub use current::{Current, WeakCurrent};
pub use forwarded::{Arrival, TlsFacts, client_ip};
pub use pools::ServerState;
pub use requests::RequestCounters;
pub use rest::{CountriesError, Registrar, fuzz as fuzz_registration};
pub use server::{Phase, serve_connection};
pub use service::{DialectBuilder, HttpService, ServiceError};
pub use upstream_tls::UpstreamTlsError;
