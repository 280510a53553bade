//! Scripted peers for tests in network terms: the built `xrtc` as a process, and on both sides of it other people's ICE
//! (`webrtc-ice`) and DTLS (`dtls`). What they prove does not depend on any code of this project.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod backend;
pub mod client;
pub mod edge;
pub mod http;
pub mod peer;
pub mod registered;
pub mod routes;
pub mod sdp;
pub mod stream;
pub mod tap;
pub mod unreachable;

use std::future::Future;
use std::time::Duration;

/// Fails with `what` instead of hanging.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {seconds} s"),
    }
}
