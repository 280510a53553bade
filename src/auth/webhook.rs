//! \[shell\] Asks another server for a user's password: one POST, two seconds, 4 KiB.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::{Query, Rejection};
use crate::config::{Scheme, Secret, ServerUrl};

/// From the dial to the last byte of the answer (webrtc-server.md §6).
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer; a password is shorter.
const LONGEST_ANSWER: usize = 4096;

/// Why a webhook cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The crypto provider refuses its own defaults.
    #[error("TLS to the webhook: {0}")]
    Provider(#[from] rustls::Error),
    /// The host is no name that a certificate can have.
    #[error("webhook: {0} is no host that a certificate can be for")]
    Name(String),
}

/// Where users are asked for.
pub(super) struct Webhook {
    url: ServerUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

#[derive(Serialize)]
struct Question<'a> {
    username: &'a str,
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    remote_addr: String,
}

#[derive(Deserialize)]
struct Answer {
    password: String,
}

impl Webhook {
    pub(super) fn new(url: &ServerUrl) -> Result<Webhook, WebhookError> {
        let tls = (url.scheme == Scheme::Https).then(|| tls(&url.host)).transpose()?;
        Ok(Webhook { url: url.clone(), tls })
    }

    /// The user's password. Everything but a well-formed 200 is a rejection.
    pub(super) async fn ask(&self, query: &Query<'_>) -> Result<Secret, Rejection> {
        let question = Question {
            username: query.username,
            purpose: query.purpose.label(),
            room: query.room,
            remote_addr: query.remote.to_canonical().to_string(),
        };
        let body = serde_json::to_vec(&question).map_err(|_| Rejection::SourceFailed)?;
        let host = &self.url.host;
        let (status, answer) = match timeout(TIMEOUT, self.exchange(body)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                debug!(host, %error, "webhook failed");
                return Err(Rejection::SourceFailed);
            }
            Err(_) => {
                debug!(host, "webhook did not answer within two seconds");
                return Err(Rejection::SourceFailed);
            }
        };
        if status != StatusCode::OK {
            debug!(host, %status, "webhook refuses");
            return Err(Rejection::UnknownUser);
        }
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| Rejection::SourceFailed)?;
        Ok(Secret::new(answer.password))
    }

    async fn exchange(&self, body: Vec<u8>) -> io::Result<(StatusCode, Bytes)> {
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => self.post(connector.connect(name.clone(), tcp).await?, body).await,
            None => self.post(tcp, body).await,
        }
    }

    async fn post<S>(&self, stream: S, body: Vec<u8>) -> io::Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(connection);
        let request = self.request(body)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
            Ok((status, body.map_err(io::Error::other)?.to_bytes()))
        }
        .await;
        driver.abort();
        answered
    }

    fn request(&self, body: Vec<u8>) -> io::Result<Request<Full<Bytes>>> {
        let ServerUrl { path, query, host, port, .. } = &self.url;
        let target = match (path.as_str(), query.as_str()) {
            ("", "") => "/".to_owned(),
            (path, "") => path.to_owned(),
            (path, query) => format!("{}?{query}", if path.is_empty() { "/" } else { path }),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(io::Error::other)
    }
}

fn tls(host: &str) -> Result<(TlsConnector, ServerName<'static>), WebhookError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| WebhookError::Name(host.to_owned()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
