//! \[shell\] What waits to be sent to one client, up to a bound: who takes nothing while others talk is given up, never waited
//! for. An idle one costs no memory beyond itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::ws_frame::Message;

/// Written at once: few, so that what waits can still be cut off.
const BATCH: usize = 32;
/// Bytes that wait for one client, whatever the count of messages is: a thousand of the largest would be 64 MiB.
const MOST_BYTES: usize = 4 << 20;

/// The way from the rooms to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    /// Of the queue.
    bytes: usize,
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
        if state.queue.len() >= bound || state.bytes > MOST_BYTES {
            return Err(Overflow);
        }
        state.bytes += size(&message);
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
        state.bytes = 0;
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
            state.bytes += size(&message);
            state.queue.push_front(message);
        }
    }

    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.lock().deadline = deadline;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    /// Waits until a goodbye has been said.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().end.is_some() {
                return;
            }
            changed.await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut state = self.lock();
        if state.queue.is_empty() {
            return state.end.clone().map(Next::Close);
        }
        let taken = if state.queue.len() <= BATCH {
            // The queue's memory goes along, so that an idle client has none.
            std::mem::take(&mut state.queue)
        } else {
            state.queue.drain(..BATCH).collect()
        };
        state.bytes = state.queue.iter().map(size).sum();
        Some(Next::Messages(taken))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::Text(data)
        | Message::Binary(data)
        | Message::Ping(data)
        | Message::Pong(data)
        | Message::Close(data) => data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(size: usize) -> Message {
        Message::Text(Bytes::from(vec![b'x'; size]))
    }

    #[tokio::test]
    async fn what_is_pushed_comes_out_in_order_and_the_goodbye_last() {
        let outbox = Outbox::default();
        for size in 0..100 {
            outbox.push(text(size), 1024).unwrap();
        }
        outbox.close(End { code: 1000, reason: "first".into() });
        outbox.close(End { code: 1001, reason: "second".into() });
        outbox.push(text(7), 1024).unwrap();
        let mut sizes = Vec::new();
        let end = loop {
            match outbox.next().await {
                Next::Messages(messages) => sizes.extend(messages.iter().map(size)),
                Next::Close(end) => break end,
            }
        };
        assert_eq!(sizes, (0..100).collect::<Vec<_>>());
        assert_eq!((end.code, &*end.reason), (1000, "first"));
    }

    #[tokio::test]
    async fn a_full_queue_says_so_by_count_and_by_bytes() {
        let outbox = Outbox::default();
        assert_eq!(
            (0..3).map(|_| outbox.push(text(1), 2)).collect::<Vec<_>>(),
            [Ok(()), Ok(()), Err(Overflow)]
        );
        let outbox = Outbox::default();
        let fitting = (0..).take_while(|_| outbox.push(text(64 << 10), usize::MAX).is_ok()).count();
        assert_eq!(fitting, MOST_BYTES / (64 << 10) + 1);
        outbox.cut(End { code: 1013, reason: "".into() });
        assert!(matches!(outbox.next().await, Next::Close(End { code: 1013, .. })));
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_not_lost() {
        let outbox = Outbox::default();
        for size in 1..4 {
            outbox.push(text(size), 10).unwrap();
        }
        let Next::Messages(taken) = outbox.next().await else { panic!() };
        outbox.push(text(4), 10).unwrap();
        outbox.put_back(taken);
        assert_eq!(outbox.unsent().iter().map(Bytes::len).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
