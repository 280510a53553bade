//! \[pure\] Why a registration is refused, and with which status (the table of xrtc.md §5.2).

use hyper::StatusCode;

/// What the answer's `status` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum Refusal {
    /// The original's words.
    #[error("Only Post Allowed")]
    NotPost,
    #[error("expected a registration as JSON, found something else at line {line} column {column}")]
    NotJson { line: usize, column: usize },
    /// The original's words.
    #[error("no server candidates")]
    NoServerCandidates,
    /// The original's words.
    #[error("no proxy candidates")]
    NoProxyCandidates,
    #[error("{side}.{name}: expected a value, found none")]
    EmptyCredential { side: &'static str, name: &'static str },
    #[error("{side}.{name}: expected at most {limit} bytes, found more")]
    LongCredential { side: &'static str, name: &'static str, limit: usize },
    #[error("{side}.{name}: expected no space, control character or, in a ufrag, colon, found one")]
    OddCredential { side: &'static str, name: &'static str },
    #[error("candidates: expected a host candidate with an address, udp or tcp passive, found none")]
    NoUsableCandidate,
    #[error("too many sessions of this client")]
    TooManyOfClient,
    #[error("too many sessions")]
    TooMany,
}

impl Refusal {
    pub(in crate::http) fn status(&self) -> StatusCode {
        match self {
            Refusal::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotJson { .. }
            | Refusal::NoServerCandidates
            | Refusal::NoProxyCandidates
            | Refusal::EmptyCredential { .. }
            | Refusal::LongCredential { .. }
            | Refusal::OddCredential { .. } => StatusCode::BAD_REQUEST,
            Refusal::NoUsableCandidate => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::TooManyOfClient => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Header that goes with the status (RFC 9110 §15.5.6, §10.2.3; RFC 6585 §4).
    pub(in crate::http) fn header(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Refusal::NotPost => Some(("allow", "POST, OPTIONS")),
            // Registrations that no client uses are gone by then.
            Refusal::TooManyOfClient | Refusal::TooMany => Some(("retry-after", "30")),
            _ => None,
        }
    }
}
