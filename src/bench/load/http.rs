//! Requests to the program under test, several at a time, over kept connections.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

use crate::bench::{BenchError, Doing};

/// Requests under way at a time. More gains nothing on one core.
const CONCURRENT: usize = 8;
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Speaks to one HTTP server.
#[derive(Clone)]
pub(super) struct Http {
    at: SocketAddr,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
}

impl Http {
    pub(super) fn new(at: SocketAddr) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http { at, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    pub(super) async fn post(&self, path: &str, body: String) -> Result<String, BenchError> {
        self.send(Method::POST, path, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<String, BenchError> {
        self.send(Method::GET, path, String::new()).await
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<String, BenchError> {
        let uri = format!("http://{}{path}", self.at);
        let name = format!("{method} {uri}");
        let failed = |what: &dyn std::fmt::Display| BenchError::Peer {
            who: "the program under test",
            what: format!("{name}: {what}"),
        };
        let request = Request::builder().method(method).uri(&uri).header("content-type", "application/json");
        let request = request.body(Full::from(body)).map_err(|error| failed(&error))?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request));
        let answer = answer.await.map_err(|late| failed(&late))?.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::OK { Ok(text) } else { Err(failed(&format!("{status}: {text}"))) }
    }
}

/// A runtime for one thread.
pub(super) fn runtime() -> Result<Runtime, BenchError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "starting a runtime".to_owned())
}

/// Runs one conversation per session, several at a time; what they yield, in order.
pub(super) fn converse<T, F: Future<Output = Result<T, BenchError>>>(
    count: usize,
    conversation: impl Fn(usize) -> F,
) -> Result<Vec<T>, BenchError> {
    let all = stream::iter((0..count).map(conversation)).buffered(CONCURRENT).try_collect();
    runtime()?.block_on(all)
}
