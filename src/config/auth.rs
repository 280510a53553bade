//! \[pure\] `auth:`, who may come in: the same form for TURN and for rooms.

use std::fmt;

use super::ServerUrl;
use super::section::{Findings, Section};
use super::urls::server_url;

/// Something that no log and no message shows.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps it.
    pub fn new(secret: impl Into<Box<str>>) -> Secret {
        Secret(secret.into())
    }

    /// What is in it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who may come in. The first source that knows a name decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `users`: names and passwords, in file order.
    pub users: Vec<(String, Secret)>,
    /// `password`: one for every name that is not among the users.
    pub password: Option<Secret>,
    /// `secrets` of credentials that carry their own expiry; the first one signs.
    pub secrets: Vec<Secret>,
    /// `webhook`, asked for everybody else.
    pub webhook: Option<ServerUrl>,
}

impl Auth {
    /// Whether nobody may come in.
    pub fn is_empty(&self) -> bool {
        *self == Auth::default()
    }
}

/// More secrets than a rotation ever has; each one is tried for every request.
const MOST_SECRETS: usize = 8;

/// `auth:` below `section`; empty where it is not given.
pub(super) fn auth(section: &Section<'_>, findings: &mut Findings) -> Auth {
    let Some(auth) = section.section(findings, "auth") else { return Auth::default() };
    let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
    let secrets = auth.list(findings, "secrets", "a secret", secret);
    if secrets.len() > MOST_SECRETS {
        let message = format!("expected at most {MOST_SECRETS} secrets, found {}", secrets.len());
        findings.error(auth.place("secrets"), &format!("{}.secrets", auth.path), message);
    }
    Auth {
        users: users(&auth, findings),
        password: auth.read(findings, "password", "a password", secret),
        secrets,
        webhook: auth.read(findings, "webhook", "an http:// or https:// URL", |text| {
            server_url(text).map(|parsed| parsed.url).filter(|url| !url.scheme.is_websocket())
        }),
    }
}

/// `users:` names and passwords.
fn users(auth: &Section<'_>, findings: &mut Findings) -> Vec<(String, Secret)> {
    let Some(users) = auth.section(findings, "users") else { return Vec::new() };
    let read = |key: &str, findings: &mut Findings| {
        users.require(findings, key, "a password", |text| (!text.is_empty()).then(|| Secret::new(text)))
    };
    let entries = users.node.entries().iter();
    entries.filter_map(|entry| Some((entry.key.clone(), read(&entry.key, findings)?))).collect()
}
