//! Serves the admin service on one connection. Who accepts connections, and TLS, are not its business.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::trace;

use super::router;
use super::service::Admin;

/// Time for a request head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request head; 431 beyond it.
const MAX_HEAD: usize = 16 << 10;
/// How long an answer may take to end when the edge stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one connection to its end, or until the edge stops.
pub async fn serve_connection<I>(io: I, admin: Arc<Admin>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = admin.0.stopping.clone();
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router::router(admin)));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(STOP_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        trace!(%error, "admin connection ended");
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // What it hands back must not be kept over a wait. An error: nobody is left to say so.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
