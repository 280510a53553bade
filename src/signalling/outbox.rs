//! \[shell\] What waits to be sent to one client, up to a bound: who takes nothing while others talk is given up, never waited
//! for. An idle one costs no memory beyond itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::ws_frame::Message;

/// The way from the rooms to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    end: Option<End>,
    deadline: Option<Instant>,
}

/// The last word to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) code: u16,
    pub(super) reason: std::borrow::Cow<'static, str>,
}

/// The queue was as long as it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// What there is to be written.
#[derive(Debug)]
pub(super) enum Next {
    Messages(VecDeque<Message>),
    Close(End),
}

impl Outbox {
    /// Puts a message behind the others. Behind the last word nothing is sent any more.
    pub(super) fn push(&self, message: Message, bound: usize) -> Result<(), Overflow> {
        let mut state = self.lock();
        if state.end.is_some() {
            return Ok(());
        }
        if state.queue.len() >= bound {
            return Err(Overflow);
        }
        state.queue.push_back(message);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Says goodbye behind what waits; the first goodbye counts.
    pub(super) fn close(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_one();
    }

    /// Says goodbye in place of what waits.
    pub(super) fn cut(&self, end: End) {
        let mut state = self.lock();
        state.queue = VecDeque::new();
        state.end.get_or_insert(end);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for something to write.
    pub(super) async fn next(&self) -> Next {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.take() {
                return next;
            }
            changed.await;
        }
    }

    /// What was not taken for writing.
    pub(super) fn unsent(&self) -> Vec<Bytes> {
        let queue = std::mem::take(&mut self.lock().queue);
        let text = |message| match message {
            Message::Text(text) => Some(text),
            _ => None,
        };
        queue.into_iter().filter_map(text).collect()
    }

    /// Puts back what was taken and could not be written.
    pub(super) fn put_back(&self, messages: VecDeque<Message>) {
        let mut state = self.lock();
        for message in messages.into_iter().rev() {
            state.queue.push_front(message);
        }
    }

    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.lock().deadline = deadline;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    fn take(&self) -> Option<Next> {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            // The queue's memory goes along, so that an idle client has none.
            return Some(Next::Messages(std::mem::take(&mut state.queue)));
        }
        state.end.clone().map(Next::Close)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
