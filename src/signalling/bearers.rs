//! \[shell\] Asks a server of the operator's whose bearer it is that somebody brings.

use std::net::IpAddr;
use std::time::Duration;

use hyper::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::debug;

use crate::auth::{Poster, WebhookError};
use crate::config::ServerUrl;

/// From the dial to the answer; as long as a webhook for passwords has.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The way to the webhook.
pub(super) struct Bearers(Poster);

impl Bearers {
    pub(super) fn new(url: &ServerUrl) -> Result<Self, WebhookError> {
        Poster::new(url).map(Bearers)
    }

    /// The user, if it is anybody's bearer. Every fault of the webhook is a no.
    pub(super) async fn user(&self, bearer: &str, room: &str, client: IpAddr) -> Option<String> {
        let body = json!({"bearer": bearer, "purpose": "signalling", "room": room, "remote_addr": client});
        let asked = timeout(TIMEOUT, self.0.post(body.to_string().into_bytes(), HeaderMap::new())).await;
        let (status, answer) = match asked {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                debug!(host = self.0.host(), %error, "webhook for bearers failed");
                return None;
            }
            Err(_) => {
                debug!(host = self.0.host(), "webhook for bearers is too slow");
                return None;
            }
        };
        let answer: Value = serde_json::from_slice(&answer).ok().filter(|_| status.is_success())?;
        answer.get("userId")?.as_str().filter(|user| !user.is_empty()).map(str::to_owned)
    }
}
