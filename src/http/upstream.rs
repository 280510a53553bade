//! Connections to upstream servers: dialled in time, kept for the next request, and told apart from the client's faults
//! when they break. Never decides where a request goes.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{timeout, timeout_at};
use tower_service::Service;
use tracing::{info, warn};

use super::answer::Fault;
use super::body::{Body, Progress, Watched, whole};
use super::dial::{Dial, Served};
use super::pools::ServerState;
use super::upstream_tls::{UpstreamTls, UpstreamTlsError};
use crate::config::{Scheme, ServerUrl, UpstreamTuning};

/// The upstream connections of one HTTP service.
#[derive(Debug)]
pub(super) struct Upstreams {
    client: Client<Dial, Body>,
    dial: Dial,
    dial_timeout: Duration,
    response_header_timeout: Duration,
    /// Why a server failed the last time, if it did, by host and port.
    down: HashMap<(String, u16), Mutex<Option<String>>>,
}

/// A request without its target, ready to be sent, and once more if need be.
pub(super) struct Outgoing {
    /// Method and headers; the URI is set per attempt.
    pub(super) head: hyper::http::request::Parts,
    pub(super) body: OutgoingBody,
}

/// A body that can be sent once, or again.
pub(super) enum OutgoingBody {
    Streamed(Body),
    Whole(Bytes),
}

impl Upstreams {
    /// A pool for `servers`; opens nothing yet.
    pub(super) fn new<'a>(
        tuning: &UpstreamTuning,
        servers: impl Iterator<Item = &'a ServerUrl>,
    ) -> Result<Self, UpstreamTlsError> {
        let servers: Vec<&ServerUrl> = servers.collect();
        let needs_tls = servers.iter().any(|server| matches!(server.scheme, Scheme::Https | Scheme::Wss));
        let tls = needs_tls.then(|| UpstreamTls::new(tuning)).transpose()?;
        let dial = Dial::new(tuning, tls);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(tuning.idle_timeout)
            .pool_max_idle_per_host(tuning.max_idle)
            .build(dial.clone());
        Ok(Upstreams {
            client,
            dial,
            dial_timeout: tuning.dial_timeout,
            response_header_timeout: tuning.response_header_timeout,
            down: servers
                .into_iter()
                .map(|server| ((server.host.clone(), server.port), Mutex::new(None)))
                .collect(),
        })
    }

    /// How long an upstream may be silent before its answer.
    pub(super) fn patience(&self) -> Duration {
        self.response_header_timeout
    }

    /// Sends a request to `server` and waits for the head of its answer.
    ///
    /// A request that may be repeated (RFC 9110 §9.2.2) goes out a second time when it met a kept connection that the
    /// server had already given up.
    pub(super) async fn send(
        &self,
        server: &ServerUrl,
        target: &str,
        outgoing: Outgoing,
    ) -> Result<Response<Incoming>, Failure> {
        let uri = uri(server, target).ok_or(Failure::NoTarget)?;
        let Outgoing { mut head, body } = outgoing;
        match body {
            OutgoingBody::Whole(bytes) if is_idempotent(&head.method) => {
                match self.attempt(&uri, head.clone(), whole(bytes.clone())).await {
                    Err(Failure::Stale) => self.attempt(&uri, head, whole(bytes)).await,
                    other => other,
                }
            }
            OutgoingBody::Whole(bytes) => self.attempt(&uri, head, whole(bytes)).await,
            OutgoingBody::Streamed(body) => {
                // Without a word about its length the body of a GET would be left out.
                if !head.headers.contains_key(CONTENT_LENGTH) {
                    head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                self.attempt(&uri, head, body).await
            }
        }
    }

    /// Whether `server` takes a connection; with a path also whether it answers `GET` with success.
    pub(super) async fn check(&self, server: &ServerUrl, path: Option<&str>) -> Result<(), String> {
        let uri = uri(server, path.unwrap_or("/")).ok_or_else(|| "check: not a path".to_owned())?;
        if path.is_none() {
            let dialled = self.dial.clone().call(uri).await;
            return dialled.map(drop).map_err(|error| format!("check: {}", innermost(&error)));
        }
        let mut request = Request::new(whole(Bytes::new()));
        *request.uri_mut() = uri;
        let response = self.client.request(request).await;
        let status = response.map_err(|error| format!("check: {}", innermost(&error)))?.status();
        match status.is_success() || status.is_redirection() {
            true => Ok(()),
            false => Err(format!("check: answered {}", status.as_u16())),
        }
    }

    async fn attempt(
        &self,
        uri: &Uri,
        head: hyper::http::request::Parts,
        body: Body,
    ) -> Result<Response<Incoming>, Failure> {
        let progress = Progress::start();
        let body = Watched::new(body, progress.clone()).boxed_unsync();
        let mut request = Request::from_parts(head, body);
        *request.uri_mut() = uri.clone();
        let mut connection = capture_connection(&mut request);
        let mut response = std::pin::pin!(self.client.request(request));

        let early = tokio::select! {
            biased;
            early = &mut response => Some(early),
            dialled = timeout(self.dial_timeout, connection.wait_for_connection_metadata()) => {
                dialled.map_err(|_| Failure::DialSlow)?;
                None
            }
        };
        let is_reused = connection.connection_metadata().as_ref().is_some_and(Served::is_repeated);
        progress.touch();
        let result = match early {
            Some(result) => result,
            None => self.wait_for_head(&mut response, &progress).await?,
        };
        result.map_err(|error| match progress.is_cut() {
            true => Failure::ClientCut,
            false => Failure::of(&error, is_reused),
        })
    }

    /// Waits until `response` comes, as long as the request still moves or moved a short time ago.
    async fn wait_for_head<F: Future + Unpin>(
        &self,
        response: &mut F,
        progress: &Progress,
    ) -> Result<F::Output, Failure> {
        loop {
            let deadline = progress.last() + self.response_header_timeout;
            match timeout_at(deadline, &mut *response).await {
                Ok(result) => return Ok(result),
                Err(_) if progress.last() + self.response_header_timeout > deadline => {}
                Err(_) => return Err(Failure::HeaderSlow),
            }
        }
    }

    /// How `server` is, by what the last request met there.
    pub(super) fn state(&self, server: &ServerUrl) -> ServerState {
        let down = self.down.get(&(server.host.clone(), server.port));
        let reason = down.and_then(|down| down.lock().unwrap_or_else(PoisonError::into_inner).clone());
        ServerState { upstream: name(server), server: server.to_string(), is_up: reason.is_none(), reason }
    }

    /// Logs when a server goes down and when it comes back, once each.
    pub(super) fn note(&self, server: &ServerUrl, failure: Option<&Failure>) {
        let Some(down) = self.down.get(&(server.host.clone(), server.port)) else { return };
        let mut down = down.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None if down.take().is_some() => {
                info!(upstream = %name(server), "upstream answers again");
            }
            Some(failure) if failure.is_upstreams() => {
                let reason = failure.reason(self);
                if down.replace(reason.clone()).is_none() {
                    warn!(upstream = %name(server), reason, "upstream is down");
                }
            }
            _ => {}
        }
    }
}

impl OutgoingBody {
    /// The same body once more, where it is all there.
    pub(super) fn copy(&self) -> Option<OutgoingBody> {
        match self {
            OutgoingBody::Whole(bytes) => Some(OutgoingBody::Whole(bytes.clone())),
            OutgoingBody::Streamed(_) => None,
        }
    }
}

/// Host and port, as people write them.
pub(super) fn name(server: &ServerUrl) -> String {
    if server.host.contains(':') {
        format!("[{}]:{}", server.host, server.port)
    } else {
        format!("{}:{}", server.host, server.port)
    }
}

/// What went wrong between the edge and an upstream.
#[derive(Debug)]
pub(super) enum Failure {
    Dial(String),
    DialSlow,
    HeaderSlow,
    /// A kept connection closed before any byte of an answer.
    Stale,
    /// The upstream broke off or does not speak HTTP.
    Broken(String),
    /// The client's body ended before its end.
    ClientCut,
    /// What would be asked for cannot be written as a request.
    NoTarget,
}

impl Failure {
    fn of(error: &ClientError, is_reused: bool) -> Self {
        if error.is_connect() {
            return Failure::Dial(innermost(error));
        }
        let http = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        match http {
            Some(http) if is_reused && is_closed(http) => Failure::Stale,
            Some(http) if http.is_parse() => {
                Failure::Broken("answered with something that is not HTTP".to_owned())
            }
            Some(http) if http.is_incomplete_message() => {
                Failure::Broken("closed the connection before it answered".to_owned())
            }
            _ => Failure::Broken(innermost(error)),
        }
    }

    /// Whether the upstream is at fault.
    pub(super) fn is_upstreams(&self) -> bool {
        !matches!(self, Failure::ClientCut | Failure::NoTarget)
    }

    /// Whether no server has seen anything of the request.
    pub(super) fn reached_nobody(&self) -> bool {
        matches!(self, Failure::Dial(_) | Failure::DialSlow)
    }

    /// One sentence without the server's name.
    pub(super) fn reason(&self, upstreams: &Upstreams) -> String {
        match self {
            Failure::Dial(reason) | Failure::Broken(reason) => reason.clone(),
            Failure::DialSlow => format!("no connection within {:?}", upstreams.dial_timeout),
            Failure::HeaderSlow => {
                format!("no response header within {:?}", upstreams.response_header_timeout)
            }
            Failure::Stale => "closed the connection before it answered".to_owned(),
            Failure::ClientCut => "request body broke off".to_owned(),
            Failure::NoTarget => "no request can be built".to_owned(),
        }
    }

    /// What the client is told.
    pub(super) fn into_fault(self, server: &ServerUrl, upstreams: &Upstreams) -> Fault {
        let server = name(server);
        match self {
            Failure::ClientCut => Fault::RequestCut,
            Failure::NoTarget => Fault::Internal(server),
            Failure::HeaderSlow => Fault::UpstreamSlow { server, limit: upstreams.response_header_timeout },
            other => Fault::Upstream { server, reason: other.reason(upstreams) },
        }
    }
}

fn is_closed(error: &hyper::Error) -> bool {
    let reset = || error.source().and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(is_reset);
    error.is_incomplete_message() || error.is_canceled() || reset()
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// The text of the error at the bottom, without the operating system's number where it is one of its errors.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
        _ => cause.to_string(),
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

fn uri(server: &ServerUrl, target: &str) -> Option<Uri> {
    let scheme = match server.scheme {
        Scheme::Http | Scheme::Ws => "http",
        Scheme::Https | Scheme::Wss => "https",
    };
    let authority = name(server);
    Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query(target).build().ok()
}
