//! \[shell\] Asks another server for a user's password: one POST, two seconds, 4 KiB.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;

use super::post::{Poster, WebhookError};
use super::{Query, Rejection};
use crate::config::{Secret, ServerUrl};

/// From the dial to the last byte of the answer (webrtc-server.md §6).
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where users are asked for.
pub(super) struct Webhook(Poster);

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
        Poster::new(url).map(Webhook)
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
        let host = self.0.host();
        let (status, answer) = match timeout(TIMEOUT, self.0.post(body, HeaderMap::new())).await {
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
}
