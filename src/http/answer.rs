//! What the edge itself answers, and whose fault it says it was (xrtc.md §2, §5).
//!
//! Upstream down or talking nonsense: 502, silent: 504; the client's mistake: 4xx; ours: 500. Every answer of the edge
//! may be read by scripts of any origin, so that an application can show the reason.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};

use super::body::{self, Body};
use super::coding::CodingError;
use super::rest::Refusal;
use super::rooms;
use crate::budget::OverBudget;

/// Why a request gets an answer of the edge instead of the upstream's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no route takes this path")]
    Unrouted,
    #[error("this service has another name")]
    Misdirected,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("request: {0}")]
    Coding(CodingError),
    #[error("request body is larger than {0} bytes")]
    RequestTooLarge(usize),
    #[error("request body did not arrive within {0:?}")]
    RequestSlow(Duration),
    #[error("request body broke off")]
    RequestCut,
    #[error(transparent)]
    Registration(#[from] Refusal),
    #[error("expected a WebSocket upgrade, version 13")]
    UpgradeRequired,
    #[error("{0}")]
    Rooms(crate::signalling::Refusal),
    #[error("{reason}")]
    Refused { reason: String, body: Vec<u8> },
    #[error("too many requests from this address, try again in {} s", retry_after(.0))]
    OverBudget(OverBudget),
    #[error("upstream group {group} has no server for {kind}")]
    NoServer { group: String, kind: &'static str },
    #[error("upstream {server}: {reason}")]
    Upstream { server: String, reason: String },
    #[error("upstream {server}: no response header within {limit:?}")]
    UpstreamSlow { server: String, limit: Duration },
    #[error("the edge cannot build a request for {0}")]
    Internal(String),
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Fault::Unrouted => StatusCode::NOT_FOUND,
            Fault::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Fault::Coding(CodingError::TooLarge(_)) | Fault::RequestTooLarge(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Fault::Malformed(_) | Fault::Coding(_) | Fault::RequestCut | Fault::Refused { .. } => {
                StatusCode::BAD_REQUEST
            }
            Fault::Registration(refusal) => refusal.status(),
            Fault::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Fault::Rooms(refusal) => rooms::status(*refusal),
            Fault::OverBudget(_) => StatusCode::TOO_MANY_REQUESTS,
            Fault::RequestSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Fault::NoServer { .. } | Fault::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Fault::UpstreamSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            Fault::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer: the dialect's own error where it has one, nothing for 404, else `{"status":"<reason>"}`.
    pub(super) fn into_response(self) -> Response<Body> {
        let status = self.status();
        let header = match &self {
            Fault::Registration(refusal) => refusal
                .header()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
            // RFC 9110 §10.2.3
            Fault::OverBudget(over) => Some((RETRY_AFTER, HeaderValue::from(retry_after(over)))),
            _ => None,
        };
        let mut response = own(status, None);
        rooms::complete(&self, &mut response);
        let body = match self {
            Fault::Unrouted => return response,
            Fault::Refused { body, .. } if !body.is_empty() => body,
            other => serde_json::json!({ "status": other.to_string() }).to_string().into_bytes(),
        };
        set_json(&mut response, body);
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Whole seconds, at least one.
fn retry_after(over: &OverBudget) -> u64 {
    over.retry_after.as_secs() + 1
}

/// 200 with a JSON body that a dialect wrote.
pub(super) fn json(body: Vec<u8>) -> Response<Body> {
    own(StatusCode::OK, Some(body))
}

/// What a dialect answers by itself.
pub(super) fn respond(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response<Body> {
    let mut response = own(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), None);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    if !body.is_empty() {
        *response.body_mut() = body::whole(Bytes::from(body));
    }
    response
}

/// 200 without a body.
pub(super) fn empty() -> Response<Body> {
    own(StatusCode::OK, None)
}

/// Headers that let scripts of any origin read an answer of the edge (xrtc.md §5).
fn allow_any_origin(headers: &mut HeaderMap) {
    const ALLOWED: &str = "Content-Type, Content-Range, Content-Disposition, Content-Description";
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
}

fn own(status: StatusCode, json: Option<Vec<u8>>) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    allow_any_origin(response.headers_mut());
    if let Some(json) = json {
        set_json(&mut response, json);
    }
    response
}

fn set_json(response: &mut Response<Body>, json: Vec<u8>) {
    *response.body_mut() = body::whole(Bytes::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_says_whose_it_was_in_valid_json() {
        let server = "127.0.0.1:8088".to_owned();
        for (fault, status, body) in [
            (Fault::Unrouted, 404, ""),
            (Fault::Misdirected, 421, r#"{"status":"this service has another name"}"#),
            (
                Fault::Upstream { server, reason: "said \"no\"".to_owned() },
                502,
                r#"{"status":"upstream 127.0.0.1:8088: said \"no\""}"#,
            ),
            (Fault::Refused { reason: "bad".to_owned(), body: b"{\"x\":1}".to_vec() }, 400, r#"{"x":1}"#),
            (Fault::Refused { reason: "bad".to_owned(), body: Vec::new() }, 400, r#"{"status":"bad"}"#),
            (
                Fault::Coding(CodingError::TooLarge(5)),
                413,
                r#"{"status":"request: body is larger than 5 bytes when decoded"}"#,
            ),
        ] {
            let response = fault.into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
    }
}
