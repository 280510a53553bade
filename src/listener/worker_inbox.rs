//! What comes to a worker from the rest of the program (commands, and packets that another worker received), and what it
//! shows of itself.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::ToWorker;
use super::socket::Socket;
use super::worker::Worker;
use crate::forward::{DropReason, Received, Via};

/// Commands that are carried out between two receives, so that fifty thousand registrations at once hold up no packet for
/// more than about a millisecond.
const COMMANDS_AT_ONCE: usize = 256;
/// How often the counters are shown to others.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// A packet that arrived at a worker that does not have its session.
pub(super) struct HandedOver {
    pub(super) received: Received,
    pub(super) bytes: Vec<u8>,
}

impl Worker {
    pub(super) fn read_commands(&mut self, now: Instant) -> io::Result<()> {
        self.more_commands = false;
        for _ in 0..COMMANDS_AT_ONCE {
            let Ok(message) = self.commands.try_recv() else { return Ok(()) };
            match message {
                ToWorker::Listen(addr, socket) => self.listen(addr, socket)?,
                ToWorker::CountClients(listener, answer) => {
                    // Nobody waits any more: the answer came too late.
                    let _ = answer.send(self.forwarder.clients_at(listener));
                }
                ToWorker::Ping(answer) => drop(answer.send(())),
                ToWorker::CloseListener(listener) => self.close_listener(listener)?,
                ToWorker::Plain(listeners) => self.forwarder.set_plain(&listeners),
                ToWorker::Limits(limits) => self.forwarder.set_limits(now, &limits),
                ToWorker::Media(media) => {
                    self.forwarder.follow_streams(media.observe_rtp);
                    self.idle.set_nap(media.coalesce, now);
                    self.media = media;
                }
                ToWorker::Command(command) => {
                    self.unpublished = true;
                    self.forwarder.command(now, command);
                }
                ToWorker::Ask(question) => question(&mut self.forwarder, now),
                ToWorker::Stop => self.stopping = true,
            }
        }
        self.more_commands = true;
        Ok(())
    }

    /// A listener came, with the next index.
    fn listen(&mut self, addr: SocketAddr, socket: Option<Socket>) -> io::Result<()> {
        let index = self.listeners.len();
        if let Some(socket) = &socket {
            self.poll.registry().register(&mut SourceFd(&socket.fd()), Token(index), Interest::READABLE)?;
            self.ready.push_back(Via::Listener(index as u16));
        }
        self.forwarder.add_listener(addr);
        self.listeners.push(socket);
        self.listener_queues.push(Vec::new());
        Ok(())
    }

    fn close_listener(&mut self, listener: u16) -> io::Result<()> {
        let socket = self.listeners.get_mut(usize::from(listener)).and_then(Option::take);
        let Some(socket) = socket else { return Ok(()) };
        self.poll.registry().deregister(&mut SourceFd(&socket.fd()))
    }

    /// Packets from other workers are treated as if they had arrived here.
    pub(super) fn read_packets(&mut self, now: Instant) {
        for _ in 0..super::HAND_OVER_QUEUE {
            let Ok(HandedOver { received, bytes }) = self.packets.try_recv() else { return };
            let segment = self.receiver.load(&bytes);
            self.decide(now, received, segment);
            self.flush();
        }
    }

    pub(super) fn hand_over(&mut self, worker: u32, received: Received, segment: (usize, usize)) {
        let bytes = self.receiver.packet(segment).to_vec();
        let Some(inbox) = self.inboxes.get(worker as usize) else { return };
        match inbox.packets.try_send(HandedOver { received, bytes }) {
            Ok(()) => inbox.bell.ring(),
            Err(_) => self.forwarder.count_drop(DropReason::HandOverFull),
        }
    }

    pub(super) fn publish(&mut self, now: Instant) {
        self.published = now;
        self.unpublished = false;
        let published = &self.inboxes[self.number as usize].published;
        published.live.store(self.forwarder.live_sessions(), Ordering::Relaxed);
        published.known.store(self.forwarder.known_sessions(), Ordering::Relaxed);
        if let Ok(mut counters) = published.counters.try_lock() {
            counters.clone_from(self.forwarder.counters());
        }
    }
}
