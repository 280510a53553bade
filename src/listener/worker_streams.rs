//! What comes to a worker from TCP connections, and goes out by them. The worker decides over such packets exactly as over
//! datagrams; only their way differs.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use tokio::runtime::Handle;
use tracing::trace;

use super::batch::{Outgoing, REPLIES};
use super::tcp::{FromStream, Link, dial};
use super::worker::{Worker, place};
use super::worker_backends::BackendEnd;
use crate::forward::{DropReason, SocketRequest, Verdict, Via, Wire};

/// Packets from streams per turn, so that datagrams get theirs.
const PER_TURN: usize = 256;

/// A worker's way to the TCP connections that it serves.
pub(super) struct Streams {
    queue: mpsc::Receiver<FromStream>,
    /// ICE-TCP clients by listener and address. Strangers choose the addresses, hence the map's random seed.
    clients: HashMap<(u16, SocketAddr), Arc<Link>>,
    /// Dials backends.
    runtime: Option<Handle>,
    /// What one turn takes from the queue, so that it is drained before any of it is worked at.
    taken: Vec<FromStream>,
    /// The last turn left something in the queue.
    pub(super) has_more: bool,
}

impl Streams {
    pub(super) fn new(queue: mpsc::Receiver<FromStream>, runtime: Option<Handle>) -> Self {
        Streams { queue, clients: HashMap::new(), runtime, taken: Vec::new(), has_more: false }
    }
}

impl Worker {
    /// Takes what connections brought, up to a turn's worth.
    pub(super) fn read_streams(&mut self, now: Instant) -> io::Result<()> {
        let mut messages = std::mem::take(&mut self.streams.taken);
        messages.extend(self.streams.queue.try_iter().take(PER_TURN));
        self.streams.has_more = messages.len() == PER_TURN;
        let done = if messages.is_empty() { Ok(()) } else { self.work_at(now, &mut messages) };
        self.streams.taken = messages;
        done
    }

    /// What packets lead to is sent together, as it is after a receive.
    #[inline(never)]
    fn work_at(&mut self, now: Instant, messages: &mut Vec<FromStream>) -> io::Result<()> {
        self.unpublished = true;
        // A check may follow its registration closely: whoever sent it had the command sent before.
        self.read_commands(now)?;
        self.receiver.clear();
        for message in messages.drain(..) {
            match message {
                FromStream::Packet(link, bytes) => self.take_packet(now, &link, &bytes),
                FromStream::Parcel(link, parcel) => self.take_packet(now, &link, &parcel),
                // What comes after the end of its connection must not be learnt any more.
                FromStream::HandedOver(link, _) if link.is_closed() => {}
                FromStream::HandedOver(link, bytes) => self.take_packet(now, &link, &bytes),
                other => {
                    // Sockets come and go: what was said before leaves before.
                    self.flush();
                    self.connection_changed(now, other)?;
                }
            }
        }
        self.flush();
        self.open_sockets(now)
    }

    fn connection_changed(&mut self, now: Instant, message: FromStream) -> io::Result<()> {
        match message {
            FromStream::Gone(link) => self.forget_link(now, &link)?,
            FromStream::Dialled(request, link, local) => {
                let index = self.forwarder.socket_opened(now, request, local).index;
                link.name(index);
                self.keep_backend(index, BackendEnd::Tcp(link));
            }
            FromStream::NotDialled(request) => self.forwarder.socket_failed(now, request),
            FromStream::Packet(..) | FromStream::Parcel(..) | FromStream::HandedOver(..) => {}
        }
        Ok(())
    }

    /// Has a TCP connection to a backend dialled; the answer comes by the queue.
    pub(super) fn dial(&mut self, now: Instant, request: SocketRequest) {
        let Some(runtime) = &self.streams.runtime else {
            return self.forwarder.socket_failed(now, request);
        };
        runtime.spawn(dial(request, self.number, self.inboxes.clone()));
    }

    /// Sends by TCP what was queued for `via`; what has no connection any more is too late.
    pub(super) fn send_by_stream(&mut self, via: Via, waiting: &[Outgoing]) {
        for packet in waiting {
            let (link, reason) = match via {
                Via::Listener(index) => {
                    (self.streams.clients.get(&(index, packet.to)), DropReason::TcpClientSlow)
                }
                Via::Backend(index) => match self.backend(index) {
                    Some(BackendEnd::Tcp(link)) => (Some(link), DropReason::TcpBackendSlow),
                    _ => (None, DropReason::TcpBackendSlow),
                },
            };
            let Some(link) = link else { continue };
            let dropped = link.send(self.receiver.packet((packet.offset, packet.len)));
            self.count_frame(via, true, packet.len);
            for _ in 0..dropped {
                self.forwarder.count_drop(reason);
            }
        }
    }

    fn count_frame(&mut self, via: Via, out: bool, len: usize) {
        let frame = Wire { packets: 1, bytes: len as u64, ..Wire::default() };
        self.forwarder.count_wire(place(via, out, true), frame);
    }

    fn take_packet(&mut self, now: Instant, link: &Arc<Link>, bytes: &[u8]) {
        let Some(received) = link.received() else { return };
        if let Via::Listener(listener) = received.via {
            self.streams.clients.insert((listener, received.from), link.clone());
        }
        self.count_frame(received.via, false, bytes.len());
        if self.receiver.is_full() {
            self.flush();
            self.receiver.clear();
        }
        if self.replies == REPLIES {
            self.flush();
        }
        let segment = self.receiver.append(bytes);
        let (packet, reply) = self.receiver.packet_and_reply(segment, self.replies);
        match self.forwarder.handle(now, received, packet, reply) {
            Verdict::HandOver { worker } => self.hand_over_stream(worker, link, bytes),
            verdict => {
                if !matches!(verdict, Verdict::Drop(_) | Verdict::Tell { .. }) {
                    link.used(now);
                }
                self.carry_out(verdict, received, segment);
            }
        }
    }

    /// The packet goes to the worker that has the session, and so do all that follow.
    fn hand_over_stream(&mut self, worker: u32, link: &Arc<Link>, bytes: &[u8]) {
        let Some(inbox) = self.inboxes.get(worker as usize) else { return };
        link.move_to(worker);
        let packet = FromStream::HandedOver(link.clone(), bytes::Bytes::copy_from_slice(bytes));
        match inbox.streams.try_send(packet) {
            Ok(()) => inbox.bell.ring(),
            Err(_) => self.forwarder.count_drop(DropReason::HandOverFull),
        }
    }

    fn forget_link(&mut self, now: Instant, link: &Arc<Link>) -> io::Result<()> {
        let Some(received) = link.received() else { return Ok(()) };
        trace!(worker = self.number, from = %received.from, "connection gone");
        match received.via {
            Via::Listener(listener) => {
                let key = (listener, received.from);
                // Behind a balancer, another connection may have taken the address since.
                if self.streams.clients.get(&key).is_some_and(|current| Arc::ptr_eq(current, link)) {
                    self.streams.clients.remove(&key);
                    self.forwarder.client_gone(now, listener, received.from);
                }
            }
            Via::Backend(index) => {
                if matches!(self.backend(index), Some(BackendEnd::Tcp(current)) if Arc::ptr_eq(current, link))
                {
                    self.close_backend(index)?;
                    self.forwarder.socket_closed(now, index);
                }
            }
        }
        Ok(())
    }
}
