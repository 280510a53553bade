//! What the webhook said, for a while. Bounded: two halves, of which the older one is forgotten when the younger is full.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Purpose, Query, Rejection};
use crate::config::Secret;

type Answer = Result<Secret, Rejection>;
/// The answer may depend on all that the webhook is told, but for the address: a phone that changes networks stays itself.
type Key = (Purpose, Option<String>, String);
type Half = HashMap<Key, (Answer, Instant)>;

pub(super) struct Cache {
    half: usize,
    halves: Mutex<[Half; 2]>,
}

impl Cache {
    /// Keeps up to `most` answers.
    pub(super) fn new(most: usize) -> Self {
        Cache { half: (most / 2).max(1), halves: Mutex::default() }
    }

    /// What was said, if that still counts at `now`.
    pub(super) fn get(&self, query: &Query<'_>, now: Instant) -> Option<Answer> {
        let key = key(query);
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let found = halves.iter().find_map(|half| half.get(&key));
        found.filter(|(_, until)| now < *until).map(|(answer, _)| answer.clone())
    }

    /// Keeps an answer until then.
    pub(super) fn put(&self, query: &Query<'_>, answer: Answer, until: Instant) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if halves[0].len() >= self.half {
            halves.swap(0, 1);
            halves[0].clear();
        }
        let key = key(query);
        halves[1].remove(&key);
        halves[0].insert(key, (answer, until));
    }
}

fn key(query: &Query<'_>) -> Key {
    (query.purpose, query.room.map(str::to_owned), query.username.to_owned())
}
