//! How a thread that waits for sockets learns that something waits in its queues.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Poll, Token, Waker};

/// A flag, and a wake-up call for the first one who raises it. Whoever puts something into a queue rings; the thread answers,
/// and looks into its queues then. A look at queues that nobody wrote to is spared, and so is a system call for a thread that is
/// called already: packets and registrations come in bursts.
#[derive(Debug)]
pub(super) struct Bell {
    rings: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// One that wakes who waits with `poll`, by an event with this token. There can be one per `poll`.
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Bell> {
        Ok(Bell { rings: AtomicBool::new(false), waker: Waker::new(poll.registry(), token)? })
    }

    /// Something is in a queue.
    pub(super) fn ring(&self) {
        if !self.rings.swap(true, Ordering::AcqRel) {
            // A failed wake means that the thread is gone.
            let _ = self.waker.wake();
        }
    }

    /// Whether it rings. What was put into a queue before is seen there.
    #[inline]
    pub(super) fn rings(&self) -> bool {
        self.rings.load(Ordering::Acquire)
    }

    /// The thread is about to look into all of its queues, if this says that it rang: what comes from now on rings anew.
    #[inline]
    pub(super) fn answer(&self) -> bool {
        self.rings() && self.rings.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use mio::Events;

    use super::*;

    #[test]
    fn it_wakes_once_until_it_is_answered() {
        let mut poll = Poll::new().expect("poll");
        let bell = Bell::new(&poll, Token(7)).expect("bell");
        let mut events = Events::with_capacity(4);
        let mut wakes = |poll: &mut Poll| {
            poll.poll(&mut events, Some(Duration::ZERO)).expect("looking");
            events.iter().count()
        };
        assert!(!bell.answer());
        (0..3).for_each(|_| bell.ring());
        assert_eq!((bell.rings(), wakes(&mut poll)), (true, 1));
        bell.ring();
        assert_eq!(wakes(&mut poll), 0, "called already");
        assert!(bell.answer() && !bell.rings() && !bell.answer());
        bell.ring();
        assert_eq!(wakes(&mut poll), 1);
    }

    #[test]
    fn nothing_is_left_in_a_queue_while_the_thread_sleeps() {
        let mut poll = Poll::new().expect("poll");
        let bell = Arc::new(Bell::new(&poll, Token(7)).expect("bell"));
        let (queue, messages) = mpsc::channel();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, bell) = (queue.clone(), bell.clone());
                std::thread::spawn(move || {
                    for n in 0..20_000 {
                        queue.send(n).expect("somebody reads");
                        bell.ring();
                    }
                })
            })
            .collect();
        let (mut read, mut events) = (0, Events::with_capacity(4));
        while read < 40_000 {
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("waiting");
            assert!(!events.is_empty(), "asleep with {read} read");
            if bell.answer() {
                read += messages.try_iter().count();
            }
        }
        writers.into_iter().for_each(|writer| writer.join().expect("writer"));
    }
}
