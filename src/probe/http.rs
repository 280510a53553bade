//! A small HTTP/1.1 client whose every answer is bounded in size and time, and whose every failure names its cause.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::cause::{Cause, Fault};
use super::journal::clean;
use super::options::Options;
use super::reach::{Server, Stream};

/// Largest body that is read. Janus' longest, the list of all its plugins, has 10 KiB; an answer less than 256.
pub(super) const LARGEST: usize = 1024 * 1024;
/// For a whole answer. The edge itself waits 30 s for an upstream; nobody wants to watch that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who probes.
pub(super) const AGENT: &str = concat!("xrtc-probe/", env!("CARGO_PKG_VERSION"));

/// A client of one server that keeps one connection.
pub(super) struct Http {
    server: Server,
    headers: Vec<(HeaderName, HeaderValue)>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is sent.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// From the first `/`.
    pub(super) path: String,
    pub(super) body: Option<(&'static str, Bytes)>,
    /// A bearer token.
    pub(super) bearer: Option<&'a str>,
    pub(super) patience: Duration,
}

impl Ask<'_> {
    pub(super) fn get(path: String) -> Self {
        Ask { method: Method::GET, path, body: None, bearer: None, patience: PATIENCE }
    }

    pub(super) fn post(path: String, kind: &'static str, body: Bytes) -> Self {
        Ask { method: Method::POST, path, body: Some((kind, body)), bearer: None, patience: PATIENCE }
    }
}

impl Http {
    /// Goes over `stream` first.
    pub(super) async fn over(server: &Server, options: &Options, stream: Stream) -> Result<Http, Fault> {
        let mut http = Http::new(server, options);
        http.connection = Some(begin(stream).await?);
        Ok(http)
    }

    /// Opens its connection when it is needed.
    pub(super) fn new(server: &Server, options: &Options) -> Http {
        Http { server: server.clone(), headers: options.header.clone(), connection: None }
    }

    /// Asks and reads the whole answer.
    pub(super) async fn ask(&mut self, ask: Ask<'_>) -> Result<Answer, Fault> {
        let (method, path, patience) = (ask.method.clone(), ask.path.clone(), ask.patience);
        let shown = path.split('?').next().unwrap_or_default().to_owned();
        let limited = timeout(patience, async {
            let response = self.send(&ask).await?;
            read(response).await
        });
        limited.await.unwrap_or_else(|_| {
            self.connection = None;
            Err(Fault::new(
                Cause::HttpTimeout,
                format!("{method} {shown}: no whole answer within {} s", patience.as_secs()),
                "the server, or what is behind it, hangs: look at its log",
            ))
        })
    }

    /// A kept connection may have been closed meanwhile, so its failure is tried again on a new one.
    async fn send(&mut self, ask: &Ask<'_>) -> Result<Response<Incoming>, Fault> {
        if let Some(mut kept) = self.connection.take().filter(|kept| !kept.is_closed())
            && kept.ready().await.is_ok()
            && let Ok(response) = kept.send_request(self.request(ask)?).await
        {
            self.connection = Some(kept);
            return Ok(response);
        }
        let mut fresh = begin(self.server.open().await?).await?;
        let response = fresh.send_request(self.request(ask)?).await.map_err(|error| {
            let nonsense = error.is_parse();
            let cause = if nonsense { Cause::HttpUnexpected } else { Cause::ConnectFailed };
            Fault::new(
                cause,
                format!("{} {}: {}", ask.method, clean(&ask.path), clean(&told(&error))),
                "is it an HTTP server that listens on this port, and with or without TLS as the URL says?",
            )
        })?;
        self.connection = Some(fresh);
        Ok(response)
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(HOST, &self.server.target.authority)
            .header(USER_AGENT, AGENT);
        if let Some((kind, _)) = &ask.body {
            request = request.header(CONTENT_TYPE, *kind);
        }
        if let Some(token) = ask.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = ask.body.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
        request.body(Full::new(body)).map_err(|error| {
            Fault::new(Cause::Local, format!("no request can be made: {error}"), "check --header and --token")
        })
    }
}

fn told(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

async fn begin(stream: Stream) -> Result<SendRequest<Full<Bytes>>, Fault> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| {
        Fault::new(Cause::ConnectFailed, clean(&error.to_string()), "try again; is the server overloaded?")
    })?;
    // Ends with the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn read(response: Response<Incoming>) -> Result<Answer, Fault> {
    let (parts, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| {
            Fault::new(
                Cause::ConnectFailed,
                format!("the answer broke off: {}", clean(&told(&error))),
                "look at the server's log",
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > LARGEST {
            return Err(too_large());
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.freeze() })
}

/// More than [`LARGEST`].
pub(super) fn too_large() -> Fault {
    Fault::new(
        Cause::AnswerTooLarge,
        format!("the server answers with more than {LARGEST} bytes"),
        "what answers there is no media server: correct the URL",
    )
}

/// What a status that is no success means.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], url: &str) -> Fault {
    let reason = reason(body);
    let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let code = status.as_u16();
    match code {
        404 => Fault::new(
            Cause::HttpNotFound,
            format!("{url}: HTTP 404{said}"),
            "correct the path: Janus serves /janus unless told otherwise; behind an edge, `xrtc check` lists its routes",
        ),
        401 | 403 => Fault::new(
            Cause::HttpUnauthorized,
            format!("{url}: HTTP {code}{said}"),
            "give what it wants with --token or --header",
        ),
        300..=399 => {
            let to =
                headers.get(LOCATION).and_then(|to| to.to_str().ok()).map_or("elsewhere".to_owned(), clean);
            Fault::new(Cause::HttpRedirect, format!("{url}: HTTP {code} to {to}"), "probe that URL")
        }
        502..=504 => Fault::new(
            Cause::UpstreamDown,
            format!("{url}: HTTP {code}{said}"),
            "the front door answers, the media server behind it does not: start it, or correct `upstream` in the route",
        ),
        500..=599 => Fault::new(
            Cause::HttpServerError,
            format!("{url}: HTTP {code}{said}"),
            "look at the server's log",
        ),
        _ => Fault::new(
            Cause::HttpUnexpected,
            format!("{url}: HTTP {code}{said}"),
            "is this the URL of a media server's API?",
        ),
    }
}

/// The reason in an error's body: `status` or `error` of its JSON, or one line of plain text.
pub(super) fn reason(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let at = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
        let found =
            at("/status").or_else(|| at("/error/reason")).or_else(|| at("/error")).or_else(|| at("/message"));
        return found.map(clean).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(2000)]);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.starts_with('<') { String::new() } else { clean(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_what_servers_write() {
        assert_eq!(
            reason(br#"{"status":"upstream http://10.0.0.2:8088: refused"}"#),
            "upstream http://10.0.0.2:8088: refused"
        );
        assert_eq!(reason(br#"{"error":{"code":403,"reason":"no"}}"#), "no");
        assert_eq!(reason(b"\n busy \nlater"), "busy");
        assert_eq!(reason(b"<html><body>502"), "");
        assert_eq!(reason(b"[1,2]"), "");
    }

    #[test]
    fn each_status_has_its_cause() {
        let cause = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            refusal(status, &HeaderMap::new(), b"", "http://h").cause
        };
        assert_eq!(cause(404), Cause::HttpNotFound);
        assert_eq!((cause(401), cause(403)), (Cause::HttpUnauthorized, Cause::HttpUnauthorized));
        assert_eq!((cause(301), cause(308)), (Cause::HttpRedirect, Cause::HttpRedirect));
        assert_eq!(
            (cause(502), cause(504), cause(500)),
            (Cause::UpstreamDown, Cause::UpstreamDown, Cause::HttpServerError)
        );
        assert_eq!(cause(418), Cause::HttpUnexpected);
    }
}
