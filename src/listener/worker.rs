//! One worker: waits, receives a batch, lets the forwarder decide, sends a batch. What comes and goes by TCP is in
//! `worker_streams`, what comes by the inbox in `worker_inbox`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use mio::{Events, Poll, Token};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, trace, warn};

use super::alarm::ALARM;
use super::batch::{Datagram, Head, Outgoing, REPLIES, Receiver, Sender, pin_to};
use super::bell::Bell;
use super::idle::Idle;
use super::socket::Socket;
use super::tcp::FromStream;
use super::worker_backends::BackendEnd;
use super::worker_inbox::{HandedOver, PUBLISH_EVERY};
use super::worker_streams::Streams;
use super::{Inbox, ToWorker};
use crate::config::Media;
use crate::forward::{
    self, Destination, DropReason, Forwarder, Received, Transmit, Verdict, Via, Wire, WirePlace,
};
use crate::session::observe::Leg;
use crate::session::registration::{EndReason, SessionEvent};
use crate::telemetry::plain;

/// The waker's token; sockets have the others.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Backend sockets have tokens from here on, listeners below.
pub(super) const BACKENDS: usize = 1 << 16;
/// Batches that one socket may take per turn, so that none starves the others.
const BATCHES_PER_TURN: usize = 4;
/// Turns in a row that leave something in a socket, after which a client gets no more than its share: over a thousand
/// datagrams wait then, half of what the socket's buffer holds, and soon the kernel would drop anybody's.
const CROWDED_AFTER: u8 = 4;
pub(super) struct Setup {
    pub(super) number: u32,
    pub(super) poll: Poll,
    pub(super) commands: mpsc::Receiver<ToWorker>,
    pub(super) packets: mpsc::Receiver<HandedOver>,
    pub(super) streams: mpsc::Receiver<FromStream>,
    pub(super) runtime: Option<tokio::runtime::Handle>,
    pub(super) inboxes: Arc<[Inbox]>,
    pub(super) media: Media,
    pub(super) max_sessions: usize,
    pub(super) events: UnboundedSender<SessionEvent>,
}

pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) poll: Poll,
    pub(super) commands: mpsc::Receiver<ToWorker>,
    pub(super) packets: mpsc::Receiver<HandedOver>,
    pub(super) streams: Streams,
    pub(super) inboxes: Arc<[Inbox]>,
    /// By index; those for streams have no socket, and neither have those that are closed.
    pub(super) listeners: Vec<Option<Socket>>,
    /// By index; a closed one leaves a gap that the forwarder fills again.
    pub(super) backends: Vec<Option<BackendEnd>>,
    pub(super) media: Media,
    events: UnboundedSender<SessionEvent>,
    pub(super) forwarder: Forwarder,
    pub(super) receiver: Receiver,
    sender: Sender,
    /// What waits to be sent, per socket, in order.
    pub(super) listener_queues: Vec<Vec<Outgoing>>,
    pub(super) backend_queues: Vec<Vec<Outgoing>>,
    dirty: Vec<Via>,
    /// Sockets that may have something to read; each stands here once.
    pub(super) ready: VecDeque<Via>,
    pub(super) replies: usize,
    pub(super) idle: Idle,
    pub(super) published: Instant,
    /// Something was counted since.
    pub(super) unpublished: bool,
    /// There were more commands than are carried out at once.
    pub(super) more_commands: bool,
    pub(super) stopping: bool,
}

impl Worker {
    pub(super) fn new(setup: Setup) -> io::Result<Worker> {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(forward::Setup {
            worker: setup.number,
            listeners: Vec::new(),
            max_sessions: setup.max_sessions,
            random: Box::new(|buffer| rand::fill(buffer)),
            now,
        });
        forwarder.follow_streams(setup.media.observe_rtp);
        let idle = Idle::new(&setup.poll, setup.media.coalesce, now)?;
        Ok(Worker {
            number: setup.number,
            poll: setup.poll,
            commands: setup.commands,
            packets: setup.packets,
            streams: Streams::new(setup.streams, setup.runtime),
            inboxes: setup.inboxes,
            listener_queues: Vec::new(),
            ready: VecDeque::new(),
            listeners: Vec::new(),
            backends: Vec::new(),
            backend_queues: Vec::new(),
            media: setup.media,
            events: setup.events,
            forwarder,
            receiver: Receiver::new(),
            sender: Sender::new(),
            dirty: Vec::new(),
            replies: 0,
            idle,
            published: now,
            unpublished: false,
            more_commands: false,
            stopping: false,
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(&mut self) -> io::Result<()> {
        if self.media.pin_workers {
            self.pin();
        }
        let mut events = Events::with_capacity(256);
        while !self.stopping {
            let now = self.wait(&mut events)?;
            let called = self.bell().answer();
            if called || self.more_commands {
                self.read_commands(now)?;
            }
            for _ in 0..self.ready.len() {
                let Some(via) = self.ready.pop_front() else { break };
                self.turn(now, via)?;
                if self.socket_mut(via).is_some_and(|socket| socket.ready) {
                    self.ready.push_back(via);
                }
            }
            if called || self.streams.has_more {
                self.read_packets(now);
                self.read_streams(now)?;
            }
            if self.forwarder.next_timeout().is_some_and(|at| at <= now) {
                self.unpublished = true;
                self.forwarder.handle_timeout(now);
            }
            if self.forwarder.has_effects() {
                self.carry_out_effects(now)?;
            }
            if now >= self.published + PUBLISH_EVERY {
                self.publish(now);
            }
        }
        let now = Instant::now();
        self.forwarder.end_all(now, EndReason::Shutdown);
        self.carry_out_effects(now)?;
        self.publish(now);
        Ok(())
    }

    /// Whoever sent something to one of the queues rings it.
    fn bell(&self) -> &Bell {
        &self.inboxes[self.number as usize].bell
    }

    /// Keeps this thread on a core of its own, as far as there are enough.
    fn pin(&self) {
        match pin_to(self.number as usize) {
            Ok(core) => debug!(worker = self.number, core, "pinned"),
            Err(error) => {
                warn!(worker = self.number, %error, "cannot pin the packet worker; it runs where it may")
            }
        }
    }

    /// Until there is something to do. Returns the time then.
    fn wait(&mut self, events: &mut Events) -> io::Result<Instant> {
        let now = if !self.ready.is_empty() || self.streams.has_more || self.more_commands {
            self.idle.look(&mut self.poll, events)?
        } else {
            let publish = self.unpublished.then_some(self.published + PUBLISH_EVERY);
            let wake_at = [self.forwarder.next_timeout(), publish].into_iter().flatten().min();
            self.idle.wait(&mut self.poll, events, wake_at)?
        };
        for event in events.iter().filter(|event| ![WAKE, ALARM].contains(&event.token())) {
            let Token(token) = event.token();
            let via = if token < BACKENDS {
                Via::Listener(token as u16)
            } else {
                Via::Backend((token - BACKENDS) as u16)
            };
            self.mark_ready(via);
        }
        Ok(now)
    }

    fn mark_ready(&mut self, via: Via) {
        if let Some(socket) = self.socket_mut(via)
            && !socket.ready
        {
            socket.ready = true;
            self.ready.push_back(via);
        }
    }

    /// Up to a few batches from one socket.
    fn turn(&mut self, now: Instant, via: Via) -> io::Result<()> {
        let crowded = self.socket_mut(via).is_some_and(|socket| socket.full_turns >= CROWDED_AFTER);
        self.forwarder.begin_turn(crowded);
        for _ in 0..BATCHES_PER_TURN {
            if !self.batch(now, via)? {
                break;
            }
        }
        if let Some(socket) = self.socket_mut(via) {
            socket.full_turns = if socket.ready { socket.full_turns.saturating_add(1) } else { 0 };
        }
        Ok(())
    }

    /// Receives what is there, decides, sends. Returns whether there is more.
    fn batch(&mut self, now: Instant, via: Via) -> io::Result<bool> {
        let Some(socket) = self.socket_mut(via).filter(|socket| socket.ready) else { return Ok(false) };
        let fd = socket.fd();
        self.receiver.clear();
        let new = match self.receiver.receive(fd) {
            Ok(new) => new,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            // WouldBlock, or an error that the kernel attributes to an earlier send: nothing to read.
            Err(_) => 0..0,
        };
        if !self.receiver.is_full()
            && let Some(socket) = self.socket_mut(via)
        {
            // The call stopped because the queue is empty; the next datagram raises a new edge.
            socket.ready = false;
        }
        if new.is_empty() {
            return Ok(false);
        }
        self.idle.busy();
        self.unpublished = true;
        // A client's check may follow its registration closely: whoever sent it had the command sent before.
        if self.bell().rings() || self.more_commands {
            self.read_commands(now)?;
        }
        let mut wire = Wire { messages: new.len() as u64, calls: 1, ..Wire::default() };
        for i in new.clone() {
            if let Some(datagram) = self.receiver.datagram(i) {
                let (packets, bytes) = datagram.size();
                wire.packets += packets;
                wire.bytes += bytes;
                self.decide_over(now, via, datagram);
            }
        }
        self.forwarder.count_wire(place(via, false, false), wire);
        self.flush();
        self.open_sockets(now)?;
        Ok(self.receiver.is_full())
    }

    fn decide_over(&mut self, now: Instant, via: Via, datagram: Datagram) {
        let received = Received { via, from: datagram.from, local: datagram.local };
        for segment in datagram.segments() {
            self.decide(now, received, segment);
        }
    }

    pub(super) fn decide(&mut self, now: Instant, received: Received, segment: (usize, usize)) {
        if self.replies == REPLIES {
            self.flush();
        }
        let (bytes, reply) = self.receiver.packet_and_reply(segment, self.replies);
        match self.forwarder.handle(now, received, bytes, reply) {
            Verdict::HandOver { worker } => self.hand_over(worker, received, segment),
            verdict => self.carry_out(verdict, received, segment),
        }
    }

    /// Everything that a verdict may say but handing over.
    pub(super) fn carry_out(&mut self, verdict: Verdict, received: Received, segment: (usize, usize)) {
        let (offset, len) = segment;
        match verdict {
            Verdict::Forward(to) => self.queue(to, offset, len),
            Verdict::Reply { len, to } | Verdict::Tell { len, to } => {
                let offset = Receiver::reply_offset(self.replies);
                self.replies += 1;
                self.queue(to, offset, len);
            }
            Verdict::Consumed | Verdict::HandOver { .. } => {}
            Verdict::Drop(reason) => {
                trace!(worker = self.number, from = %plain(received.from), len, reason = %reason.label(), "dropped");
            }
        }
    }

    fn queue(&mut self, to: Destination, offset: usize, len: usize) {
        let queue = match to.via {
            Via::Listener(index) => self.listener_queues.get_mut(usize::from(index)),
            Via::Backend(index) => self.backend_queues.get_mut(usize::from(index)),
        };
        let Some(queue) = queue else { return };
        if queue.is_empty() {
            self.dirty.push(to.via);
        }
        queue.push(Outgoing { to: to.to, local: to.local, offset, len, head: Head::Empty });
    }

    pub(super) fn flush(&mut self) {
        self.replies = 0;
        while let Some(via) = self.dirty.pop() {
            let (queue, socket) = match via {
                Via::Listener(i) => (
                    &mut self.listener_queues[usize::from(i)],
                    self.listeners.get_mut(usize::from(i)).and_then(Option::as_mut),
                ),
                Via::Backend(i) => (
                    &mut self.backend_queues[usize::from(i)],
                    self.backends
                        .get_mut(usize::from(i))
                        .and_then(Option::as_mut)
                        .and_then(BackendEnd::udp_mut),
                ),
            };
            let Some(socket) = socket else {
                let mut waiting = std::mem::take(queue);
                self.send_by_stream(via, &waiting);
                waiting.clear();
                self.give_back(via, waiting);
                continue;
            };
            let sent = self.sender.send(socket.fd(), &self.receiver, queue, socket.offload);
            socket.offload &= !sent.offload_broken;
            let wire = Wire {
                packets: queue.len() as u64,
                bytes: queue.iter().map(|out| out.len as u64).sum(),
                messages: sent.messages as u64,
                calls: 1,
            };
            queue.clear();
            self.forwarder.count_wire(place(via, true, false), wire);
            for _ in 0..sent.full {
                self.forwarder.count_drop(DropReason::SendBufferFull);
            }
            for _ in 0..sent.refused {
                self.forwarder.count_drop(DropReason::SendRefused);
            }
        }
    }

    /// An empty queue keeps its memory.
    fn give_back(&mut self, via: Via, empty: Vec<Outgoing>) {
        match via {
            Via::Listener(index) => self.listener_queues[usize::from(index)] = empty,
            Via::Backend(index) => self.backend_queues[usize::from(index)] = empty,
        }
    }

    fn carry_out_effects(&mut self, now: Instant) -> io::Result<()> {
        self.open_sockets(now)?;
        let mut used = 0;
        while let Some(Transmit { to, bytes }) = self.forwarder.poll_transmit() {
            let (offset, len) = self.receiver.pack(used, &bytes).unwrap_or_else(|| {
                self.flush();
                self.receiver.load(&bytes)
            });
            used = offset + len;
            self.queue(to, offset, len);
        }
        self.flush();
        while let Some(index) = self.forwarder.poll_idle_socket() {
            self.close_backend(index)?;
        }
        while let Some(event) = self.forwarder.poll_event() {
            // Nobody listens only while the process ends.
            let _ = self.events.send(event);
        }
        Ok(())
    }

    fn socket_mut(&mut self, via: Via) -> Option<&mut Socket> {
        match via {
            Via::Listener(index) => self.listeners.get_mut(usize::from(index))?.as_mut(),
            Via::Backend(index) => self.backends.get_mut(usize::from(index))?.as_mut()?.udp_mut(),
        }
    }
}

/// Where packets of this socket are counted.
pub(super) fn place(via: Via, out: bool, tcp: bool) -> WirePlace {
    let leg = match via {
        Via::Listener(_) => Leg::Client,
        Via::Backend(_) => Leg::Backend,
    };
    WirePlace { leg, out, tcp }
}
