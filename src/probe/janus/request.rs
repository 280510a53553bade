//! One request and the reply to it, over REST or WebSocket; each refusal with its cause.

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{Api, Janus, MOST_EVENTS, PATIENCE};
use crate::probe::cause::{Cause, Fault};
use crate::probe::http::{Answer, Ask, refusal};
use crate::probe::journal::clean;

#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) token: Option<String>,
    pub(super) apisecret: Option<String>,
}

impl Janus {
    /// Sends a request and returns the reply to it.
    pub(super) async fn request(&mut self, what: &str, body: Value) -> Result<Value, Fault> {
        self.next += 1;
        let transaction = format!("probe-{}", self.next);
        let mut message = self.message(what, &transaction, body);
        let reply = match &mut self.api {
            Api::Rest(http) => {
                let path = [Some(self.base.clone()), id_path(self.session), id_path(self.handle)];
                let path: String = path.into_iter().flatten().collect();
                let path = if path.is_empty() { "/".to_owned() } else { path };
                let answer = http
                    .ask(Ask::post(path, "application/json", Bytes::from(Value::from(message).to_string())))
                    .await?;
                if !answer.status.is_success() {
                    return Err(refusal(answer.status, &answer.headers, &answer.body, &self.url));
                }
                object(&answer, &self.url)?
            }
            Api::Ws(socket) => {
                for (key, id) in [("session_id", self.session), ("handle_id", self.handle)] {
                    if id != 0 {
                        message.insert(key.to_owned(), id.into());
                    }
                }
                socket.send(Value::from(message).to_string()).await?;
                self.reply_to(&transaction, what).await?
            }
        };
        self.checked(reply, what)
    }

    fn message(&self, what: &str, transaction: &str, body: Value) -> Map<String, Value> {
        let mut message = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        message.insert("janus".to_owned(), what.into());
        message.insert("transaction".to_owned(), transaction.into());
        for (key, secret) in [("token", &self.secrets.token), ("apisecret", &self.secrets.apisecret)] {
            if let Some(secret) = secret {
                message.insert(key.to_owned(), secret.clone().into());
            }
        }
        message
    }

    /// Events come in between; they keep their order.
    async fn reply_to(&mut self, transaction: &str, what: &str) -> Result<Value, Fault> {
        let events = &mut self.events;
        let backlog = &mut self.backlog;
        let wait = timeout(PATIENCE, async {
            loop {
                let Some(message) = events.recv().await else { return std::future::pending().await };
                let message = message?;
                let is_reply = message["transaction"] == transaction && message["janus"] != "event";
                if is_reply {
                    return Ok(message);
                }
                if backlog.len() < MOST_EVENTS {
                    backlog.push_back(message);
                }
            }
        });
        wait.await.unwrap_or_else(|_| {
            Err(Fault::new(
                Cause::HttpTimeout,
                format!("no reply to `{what}` over the WebSocket within {} s", PATIENCE.as_secs()),
                "the server, or what is behind it, hangs: look at its log",
            ))
        })
    }

    fn checked(&self, reply: Value, what: &str) -> Result<Value, Fault> {
        match reply["janus"].as_str() {
            Some("success" | "ack" | "server_info" | "event") => Ok(reply),
            Some("error") => Err(self.refused(&reply["error"], what)),
            _ => Err(stranger(&self.url, "it answers, but not in the words of the Janus API")),
        }
    }

    fn refused(&self, error: &Value, what: &str) -> Fault {
        let code = error["code"].as_u64().unwrap_or(0);
        let reason = clean(error["reason"].as_str().unwrap_or("no reason given"));
        match code {
            403 => {
                let given = self.secrets.token.is_some() || self.secrets.apisecret.is_some();
                let (what, fix) = match given {
                    true => (
                        "refuses what --token or --apisecret gave",
                        "compare with api_secret and token_auth in janus.jcfg",
                    ),
                    false => ("wants a token or API secret", "give it with --token or --apisecret"),
                };
                Fault::new(Cause::JanusUnauthorized, format!("Janus {what} (403 {reason})"), fix)
            }
            460 => {
                let installed = match self.plugins.is_empty() {
                    true => String::new(),
                    false => format!("; it has {}", self.plugins.join(", ")),
                };
                Fault::new(
                    Cause::PluginMissing,
                    format!("Janus has no plugin {}{installed}", clean(&self.plugin)),
                    "enable the plugin in Janus, or name one that echoes with --plugin",
                )
            }
            _ => Fault::new(
                Cause::JanusError,
                format!("Janus answers `{what}` with error {code}: {reason}"),
                "look at Janus' log",
            ),
        }
    }
}

impl Secrets {
    /// As the end of a query.
    pub(super) fn query(&self) -> String {
        let parts = [("token", &self.token), ("apisecret", &self.apisecret)];
        let given = parts.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?)));
        given.map(|(key, secret)| format!("&{key}={}", percent(secret))).collect()
    }
}

/// For a query (RFC 3986 §2.3).
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn id_path(id: u64) -> Option<String> {
    (id != 0).then(|| format!("/{id}"))
}

pub(super) fn id(reply: &Value, url: &str) -> Result<u64, Fault> {
    reply["data"]["id"].as_u64().ok_or_else(|| stranger(url, "its reply has no data.id"))
}

pub(super) fn stranger(url: &str, why: &str) -> Fault {
    Fault::new(
        Cause::NotJanus,
        format!("{url} is no Janus API: {why}"),
        "correct the URL (Janus serves /janus over HTTP unless told otherwise), or say --protocol whip",
    )
}

pub(super) fn object(answer: &Answer, url: &str) -> Result<Value, Fault> {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(json) if json.is_object() => Ok(json),
        _ => Err(stranger(url, "it does not answer with a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_written_so_that_a_query_carries_them() {
        assert_eq!(percent("a b&c=/ä~"), "a%20b%26c%3D%2F%C3%A4~");
    }
}
