//! \[shell around a pure core\] Who may come in, for TURN and for the rooms alike: one chain of sources behind one door.
//!
//! `sources` decides from tables and secrets alone; `cache` and `webhook` are for what another server is asked. It never says
//! which of the two, name or password, was wrong, never shows a password, and compares them in constant time.

mod cache;
mod key;
mod mint;
mod post;
mod sources;
mod webhook;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::config::{Auth, Secret};
use cache::Cache;
pub use key::LongTermKeys;
pub use mint::{Minted, mint};
pub use post::{Poster, WebhookError};
use sources::Sources;
use webhook::Webhook;

/// An answer of the webhook counts for so long (webrtc-server.md §6: at most 60 s).
const KEEP: Duration = Duration::from_secs(60);
/// A refusal counts for so long: who was just given an account need not wait, and a flood of wrong names asks seldom.
const KEEP_REFUSAL: Duration = Duration::from_secs(5);
/// Answers kept; one takes a few hundred bytes.
const KEPT: usize = 10_000;
/// Questions under way at once. A webhook that hangs for its two seconds still answers 32 users per second.
const ASKED_AT_ONCE: usize = 64;
/// Longest user name (RFC 8489 §14.3: fewer than 509 bytes).
pub const LONGEST_USERNAME: usize = 508;

/// What a credential is for; the webhook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Entering a room.
    Signalling,
    /// A TURN allocation.
    Turn,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Purpose::Signalling => "signalling",
            Purpose::Turn => "turn",
        }
    }
}

/// Who asks to come in.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The name.
    pub username: &'a str,
    /// What for.
    pub purpose: Purpose,
    /// The room, where there is one.
    pub room: Option<&'a str>,
    /// From where.
    pub remote: IpAddr,
}

/// Why somebody may not come in. The label is a metric label; a client learns nothing but that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// No source knows the name.
    #[error("unknown user")]
    UnknownUser,
    /// The password is another one.
    #[error("wrong password")]
    WrongPassword,
    /// The time in the name is over.
    #[error("the credential has expired")]
    Expired,
    /// The webhook did not answer, or not as it should.
    #[error("the webhook failed")]
    SourceFailed,
    /// Too many questions to the webhook are under way.
    #[error("too many questions to the webhook are under way")]
    Busy,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Rejection; 5] = [
        Rejection::UnknownUser,
        Rejection::WrongPassword,
        Rejection::Expired,
        Rejection::SourceFailed,
        Rejection::Busy,
    ];

    /// Stable snake-case name.
    pub fn label(self) -> &'static str {
        match self {
            Rejection::UnknownUser => "unknown_user",
            Rejection::WrongPassword => "wrong_password",
            Rejection::Expired => "expired",
            Rejection::SourceFailed => "source_failed",
            Rejection::Busy => "busy",
        }
    }
}

/// What is known about a name without asking anybody.
#[derive(Clone, Debug)]
pub enum Known {
    /// Any of these passwords is right: one, or one for each secret in use.
    Passwords(Vec<Secret>),
    /// It may not come in.
    Rejected(Rejection),
    /// The webhook has to be asked: [`Store::passwords`].
    Ask,
}

/// The chain of sources: static users, then secrets, then the webhook. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    rules: ArcSwap<Rules>,
    asking: Semaphore,
}

/// What a reload replaces as a whole, the answers of the former webhook included.
struct Rules {
    sources: Sources,
    webhook: Option<Webhook>,
    cache: Cache,
}

impl Rules {
    fn new(auth: &Auth) -> Result<Rules, WebhookError> {
        Ok(Rules {
            sources: Sources::new(auth),
            webhook: auth.webhook.as_ref().map(Webhook::new).transpose()?,
            cache: Cache::new(KEPT),
        })
    }
}

impl Store {
    /// A store with these sources. Fails where TLS towards the webhook cannot be set up.
    pub fn new(auth: &Auth) -> Result<Store, WebhookError> {
        let rules = ArcSwap::from_pointee(Rules::new(auth)?);
        Ok(Store(Arc::new(Shared { rules, asking: Semaphore::new(ASKED_AT_ONCE) })))
    }

    /// From now on these sources decide.
    pub fn renew(&self, auth: &Auth) -> Result<(), WebhookError> {
        self.0.rules.store(Arc::new(Rules::new(auth)?));
        Ok(())
    }

    /// Whether there is any source; without one nobody comes in.
    pub fn has_sources(&self) -> bool {
        let rules = self.0.rules.load();
        rules.webhook.is_some() || !rules.sources.is_empty()
    }

    /// What is known without waiting.
    pub fn known(&self, query: &Query<'_>) -> Known {
        if query.username.len() > LONGEST_USERNAME {
            return Known::Rejected(Rejection::UnknownUser);
        }
        let rules = self.0.rules.load();
        match rules.sources.find(query.username, unix_now()) {
            Some(Ok(passwords)) => Known::Passwords(passwords),
            Some(Err(rejection)) => Known::Rejected(rejection),
            None if rules.webhook.is_none() => Known::Rejected(Rejection::UnknownUser),
            None => match rules.cache.get(query, Instant::now()) {
                Some(Ok(password)) => Known::Passwords(vec![password]),
                Some(Err(rejection)) => Known::Rejected(rejection),
                None => Known::Ask,
            },
        }
    }

    /// The passwords that are right for a name; asks the webhook where it must, for at most two seconds.
    pub async fn passwords(&self, query: &Query<'_>) -> Result<Vec<Secret>, Rejection> {
        match self.known(query) {
            Known::Passwords(passwords) => Ok(passwords),
            Known::Rejected(rejection) => Err(rejection),
            Known::Ask => self.ask(query).await.map(|password| vec![password]),
        }
    }

    /// Whether name and password belong together.
    pub async fn login(&self, query: &Query<'_>, password: &str) -> Result<(), Rejection> {
        let right = self.passwords(query).await?;
        // Every one is compared, so that the time says nothing about which was close.
        let fits = right.iter().fold(subtle::Choice::from(0), |fits, right| {
            fits | right.expose().as_bytes().ct_eq(password.as_bytes())
        });
        if fits.into() { Ok(()) } else { Err(Rejection::WrongPassword) }
    }

    async fn ask(&self, query: &Query<'_>) -> Result<Secret, Rejection> {
        let Ok(_permit) = self.0.asking.try_acquire() else { return Err(Rejection::Busy) };
        let rules = self.0.rules.load_full();
        let Some(webhook) = &rules.webhook else { return Err(Rejection::UnknownUser) };
        let answer = webhook.ask(query).await;
        let keep = if answer.is_ok() { KEEP } else { KEEP_REFUSAL };
        rules.cache.put(query, answer.clone(), Instant::now() + keep);
        answer
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
