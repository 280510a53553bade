//! Where the events of a Janus session wait: for the next long poll, or in the queue of a WebSocket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, mpsc};

/// Events that wait for a client; of more, the oldest are forgotten.
const QUEUE: usize = 100;

/// The way out of a session.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    /// Long polls fetch.
    Polls(Arc<Mailbox>),
    /// A WebSocket sends. A socket whose client does not read loses events, not the server's memory.
    Socket(mpsc::Sender<Value>),
}

impl Outlet {
    pub(super) fn polls() -> Outlet {
        Outlet::Polls(Arc::default())
    }

    pub(super) fn push(&self, event: Value) {
        match self {
            Outlet::Polls(mailbox) => mailbox.push(event),
            Outlet::Socket(socket) => drop(socket.try_send(event)),
        }
    }

    /// Whether nobody will ever read what is pushed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Outlet::Socket(socket) if socket.is_closed())
    }
}

/// Events until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    events: Mutex<VecDeque<Value>>,
    filled: Notify,
}

impl Mailbox {
    fn push(&self, event: Value) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == QUEUE {
            events.pop_front();
        }
        events.push_back(event);
        self.filled.notify_one();
    }

    fn take(&self, most: usize) -> Vec<Value> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let many = events.len().min(most);
        events.drain(..many).collect()
    }

    /// Up to `most` events, as soon as there is one; none when `patience` is over.
    pub(super) async fn fetch(&self, most: usize, patience: Duration) -> Vec<Value> {
        let fetch = async {
            loop {
                let events = self.take(most);
                if !events.is_empty() {
                    return events;
                }
                self.filled.notified().await;
            }
        };
        tokio::time::timeout(patience, fetch).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_poll_gets_what_waits_and_waits_for_what_comes() {
        let mailbox = Arc::new(Mailbox::default());
        (0..3).for_each(|number| mailbox.push(number.into()));
        let patience = Duration::from_secs(30);
        assert_eq!(mailbox.fetch(2, patience).await, [0, 1]);
        assert_eq!(mailbox.fetch(2, patience).await, [2]);
        let later = mailbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            later.push("late".into());
        });
        assert_eq!(mailbox.fetch(2, patience).await, ["late"]);
        assert!(mailbox.fetch(2, patience).await.is_empty());
    }

    #[test]
    fn what_nobody_fetches_is_forgotten_oldest_first() {
        let mailbox = Mailbox::default();
        (0..QUEUE + 5).for_each(|number| mailbox.push(number.into()));
        let events = mailbox.take(usize::MAX);
        assert_eq!((events.len(), &events[0]), (QUEUE, &Value::from(5)));
    }
}
