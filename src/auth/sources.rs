//! The sources that need nobody else: users from the configuration, and names that carry their own expiry (TURN REST).
//! The first source that knows a name decides. Decides from its arguments alone, the time included.

use std::collections::HashMap;

use super::Rejection;
use super::mint::sign;
use crate::config::{Auth, Secret};

/// Tables and secrets.
pub(super) struct Sources {
    users: HashMap<String, Secret>,
    /// One password for every name.
    password_for_all: Option<Secret>,
    secrets: Vec<Secret>,
}

impl Sources {
    pub(super) fn new(auth: &Auth) -> Self {
        Sources {
            users: auth.users.iter().cloned().collect(),
            password_for_all: auth.password.clone(),
            secrets: auth.secrets.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.password_for_all.is_none() && self.secrets.is_empty()
    }

    /// The passwords that are right for `username`; `None` where no source here knows it.
    pub(super) fn find(&self, username: &str, unix_now: u64) -> Option<Result<Vec<Secret>, Rejection>> {
        if let Some(password) = self.users.get(username).or(self.password_for_all.as_ref()) {
            return Some(Ok(vec![password.clone()]));
        }
        let expiry = expiry(username).filter(|_| !self.secrets.is_empty())?;
        if unix_now >= expiry {
            return Some(Err(Rejection::Expired));
        }
        Some(Ok(self.secrets.iter().map(|secret| sign(secret, username)).collect()))
    }
}

/// The time in `<unix seconds>:<anything>`, or in `<unix seconds>` alone.
fn expiry(username: &str) -> Option<u64> {
    let digits = username.split_once(':').map_or(username, |(expiry, _)| expiry);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // A number that is too large for its type is further away than anybody waits.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
