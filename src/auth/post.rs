//! \[shell\] One POST to a server of the operator's, over a connection of its own. Never waits by itself: the caller bounds
//! the time.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::config::{Scheme, ServerUrl};
use crate::tls_client;

/// Bytes of an answer that are read.
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

/// Where JSON is posted to.
pub struct Poster {
    url: ServerUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Poster {
    /// Opens nothing yet.
    pub fn new(url: &ServerUrl) -> Result<Poster, WebhookError> {
        let tls = (url.scheme == Scheme::Https).then(|| tls(&url.host)).transpose()?;
        Ok(Poster { url: url.clone(), tls })
    }

    /// The host, for logs.
    pub fn host(&self) -> &str {
        &self.url.host
    }

    /// Posts JSON with these headers besides the usual ones; the status and the first 4 KiB of what was answered.
    pub async fn post(&self, body: Vec<u8>, headers: HeaderMap) -> io::Result<(StatusCode, Bytes)> {
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => {
                self.post_over(connector.connect(name.clone(), tcp).await?, body, headers).await
            }
            None => self.post_over(tcp, body, headers).await,
        }
    }

    async fn post_over<S>(
        &self,
        stream: S,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> io::Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(connection);
        let request = self.request(body, headers)?;
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

    fn request(&self, body: Vec<u8>, headers: HeaderMap) -> io::Result<Request<Full<Bytes>>> {
        let ServerUrl { path, query, host, port, .. } = &self.url;
        let target = match (path.as_str(), query.as_str()) {
            ("", "") => "/".to_owned(),
            (path, "") => path.to_owned(),
            (path, query) => format!("{}?{query}", if path.is_empty() { "/" } else { path }),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(io::Error::other)?;
        request.headers_mut().extend(headers);
        Ok(request)
    }
}

fn tls(host: &str) -> Result<(TlsConnector, ServerName<'static>), WebhookError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| WebhookError::Name(host.to_owned()))?;
    let (roots, missing) = tls_client::system_authorities();
    if let Some(reason) = missing {
        warn!(
            reason,
            host,
            "no system certificate authorities: every call of this webhook fails; install ca-certificates"
        );
    }
    Ok((TlsConnector::from(Arc::new(tls_client::trusting(roots)?)), name))
}
