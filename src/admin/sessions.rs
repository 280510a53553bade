//! Sessions for the API: a page of them, and one with all that is known. Workers are asked for those they have, each once per
//! page.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::directory::{Ended, Running};
use super::render::{self, Told};
use super::service::Admin;
use crate::session::registration::SessionId;
use crate::session::story::Story;

/// Sessions per page, at most and where nothing is said.
pub(super) const PAGE: (usize, usize) = (200, 50);
/// A worker answers within microseconds; what it does not answer by then is left out.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at whether the end of a session is known here, too; it takes less than a millisecond, mostly.
const WORD_OF_END: Duration = Duration::from_millis(5);

impl Admin {
    /// Running sessions, newest first.
    pub(super) async fn running_page(&self, before: Option<u64>, limit: Option<usize>) -> Value {
        let page = self.0.directory.page(before.unwrap_or(u64::MAX), bounded(limit));
        let stories = self.stories(&page.entries).await;
        let row = |running: &Running| Some(render::row(&self.told(running, stories.get(&running.id)?)));
        self.listing(page.entries.iter().filter_map(row).collect(), page.next)
    }

    /// Ended sessions, the latest first.
    pub(super) fn ended_page(&self, skip: Option<u64>, limit: Option<usize>) -> Value {
        let page = self.0.directory.ended_page(skip.unwrap_or(0), bounded(limit));
        self.listing(
            page.entries.iter().map(|ended| render::row(&self.told_of_ended(ended))).collect(),
            page.next,
        )
    }

    /// One session, running or not.
    pub(super) async fn explain(&self, id: SessionId) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(running) = self.0.directory.running(id) {
            let stories = self.stories(std::slice::from_ref(&running)).await;
            if let Some(story) = stories.get(&id) {
                return Some(render::whole(&self.told(&running, story)));
            }
            // Its worker has ended it, and the word of that is on its way.
            if Instant::now() >= deadline {
                break;
            }
            sleep(WORD_OF_END).await;
        }
        let ended = self.0.directory.ended(id)?;
        let mut whole = render::whole(&self.told_of_ended(&ended));
        whole["ended"] = render::millis(ended.at).into();
        Some(whole)
    }

    fn listing(&self, rows: Vec<Value>, next: Option<u64>) -> Value {
        let (running, ended) = self.0.directory.counts();
        json!({"sessions": rows, "next": next, "running": running, "ended": ended})
    }

    fn told<'s>(&'s self, running: &Running, story: &'s Story) -> Told<'s> {
        Told { story, registered: running.registered, ended: None, published: &self.0.published }
    }

    fn told_of_ended<'s>(&'s self, ended: &'s Ended) -> Told<'s> {
        let registered = ended.at.checked_sub(ended.lasted).unwrap_or(ended.at);
        Told { story: &ended.story, registered, ended: Some(ended.reason), published: &self.0.published }
    }

    /// What is known of these sessions. Those without a client are known to every worker, the first one is asked.
    async fn stories(&self, sessions: &[Running]) -> HashMap<SessionId, Story> {
        let mut by_worker: HashMap<u32, Vec<SessionId>> = HashMap::new();
        for session in sessions {
            by_worker.entry(session.owner.get().unwrap_or(0)).or_default().push(session.id);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut stories = HashMap::new();
        for (worker, ids) in by_worker {
            let answer = timeout(
                deadline.saturating_duration_since(Instant::now()),
                self.0.packets.stories(worker, ids),
            );
            if let Ok(Some(answer)) = answer.await {
                stories.extend(answer.into_iter().map(|story| (story.session, story)));
            }
        }
        stories
    }
}

fn bounded(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE.1).clamp(1, PAGE.0)
}
