//! TURN over TCP and TLS: one task per connection cuts the stream into messages for a worker, and writes what comes back. A
//! client that reads slowly holds up nobody: its oldest media gives way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};

use super::worker::Worker;
use super::{Shared, ToWorker};
use crate::listener::tcp::{ByteStream, Framing, Pushed, Queue};
use crate::turn::wire::{Framed, framed};
use crate::turn::{Client, Transport};

/// A connection without an allocation is closed then; a client allocates within a round trip or three.
const WITHOUT_ALLOCATION: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest message before there was an allocation: a request with a long name.
const LONGEST_FIRST: usize = 4096;
/// Bytes per read: a few packets.
const READ: usize = 4096;
/// Bytes per write.
const WRITE: usize = 16 << 10;
/// Before a worker that is behind is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By either end.
    Closed,
    /// No allocation for too long.
    Idle,
    /// Neither STUN nor ChannelData, or more waits for the client than can.
    Broken,
}

/// Where connections meet the workers.
#[derive(Clone)]
pub struct TurnDoor(Arc<Shared>);

/// One connection, as its task and its worker share it.
pub(super) struct TurnLink {
    pub(super) client: Client,
    outgoing: Mutex<Queue>,
    changed: Notify,
    is_closed: AtomicBool,
    overflowed: AtomicBool,
    has_allocation: AtomicBool,
}

impl TurnLink {
    /// Lets a packet wait to be sent; how many gave way for that.
    pub(super) fn send(&self, head: &[u8], payload: &[u8]) -> usize {
        let mut packet = BytesMut::with_capacity(head.len() + payload.len());
        packet.extend_from_slice(head);
        packet.extend_from_slice(payload);
        let pushed = self.queue().push_owned(packet.freeze());
        match pushed {
            Pushed::Waits { dropped } => {
                self.changed.notify_one();
                dropped
            }
            Pushed::Overflow => {
                self.overflowed.store(true, Ordering::Relaxed);
                self.close();
                1
            }
        }
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Whether the client has an allocation now.
    pub(super) fn note(&self, has_allocation: bool) {
        self.has_allocation.store(has_allocation, Ordering::Relaxed);
    }

    /// Waits for something to send; `false` when the link is closed.
    async fn take(&self, out: &mut BytesMut) -> bool {
        loop {
            if self.is_closed.load(Ordering::SeqCst) {
                return false;
            }
            self.queue().take(out, WRITE);
            if !out.is_empty() {
                return true;
            }
            self.changed.notified().await;
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnDoor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        TurnDoor(shared)
    }

    /// Serves one connection to its end; `buffered` was read already.
    pub(in crate::listener) async fn serve<S: ByteStream>(
        &self,
        stream: S,
        buffered: BytesMut,
        (transport, remote): (Transport, SocketAddr),
        mut stopping: watch::Receiver<bool>,
    ) -> Ended {
        // Not 0, which says UDP; after four thousand million connections the first one is long gone.
        let stream_number = self.0.next_stream.fetch_add(1, Ordering::Relaxed).max(1);
        let link = Arc::new(TurnLink {
            client: Client { transport, stream: stream_number, remote, local: None },
            outgoing: Mutex::new(Queue::new(Framing::Turn)),
            changed: Notify::new(),
            is_closed: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
            has_allocation: AtomicBool::new(false),
        });
        let worker = stream_number as usize % self.0.inboxes.len();
        let (reader, writer) = tokio::io::split(stream);
        let ended = tokio::select! {
            ended = self.read(reader, buffered, &link, worker) => ended,
            ended = write(writer, &link) => ended,
            () = without_allocation(&link) => Ended::Idle,
            _ = stopping.wait_for(|stopping| *stopping) => Ended::Closed,
        };
        link.close();
        self.deliver(worker, ToWorker::Gone(link)).await;
        ended
    }

    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut buffer: BytesMut,
        link: &Arc<TurnLink>,
        worker: usize,
    ) -> Ended {
        loop {
            loop {
                match framed(&buffer) {
                    Framed::NeedMore => break,
                    Framed::Broken => return Ended::Broken,
                    Framed::Message { len, with_padding } => {
                        let mut message = buffer.split_to(with_padding);
                        message.truncate(len);
                        self.deliver(worker, ToWorker::Stream(link.clone(), message.freeze())).await;
                    }
                }
            }
            let is_stranger = !link.has_allocation.load(Ordering::Relaxed);
            if is_stranger && buffer.len() > LONGEST_FIRST {
                return Ended::Broken;
            }
            buffer.reserve(READ);
            match reader.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ended::Closed,
            }
        }
    }

    /// Waits until the worker takes the message; one that has stopped needs none.
    async fn deliver(&self, worker: usize, message: ToWorker) {
        let Some(inbox) = self.0.inboxes.get(worker) else { return };
        let mut message = message;
        while let Err(back) = inbox.offer(message) {
            if self.0.has_stopped() {
                return;
            }
            message = back;
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, link: &TurnLink) -> Ended {
    let mut out = BytesMut::new();
    while link.take(&mut out).await {
        let written = async {
            while out.has_remaining() {
                writer.write_buf(&mut out).await?;
            }
            writer.flush().await
        };
        if written.await.is_err() {
            return Ended::Closed;
        }
        // A quiet connection keeps nothing.
        out = BytesMut::new();
    }
    if link.overflowed.load(Ordering::Relaxed) { Ended::Broken } else { Ended::Closed }
}

/// Returns when the connection has had no allocation for too long.
async fn without_allocation(link: &TurnLink) {
    let mut since = Instant::now();
    while since.elapsed() < WITHOUT_ALLOCATION {
        tokio::time::sleep(LOOK_EVERY).await;
        if link.has_allocation.load(Ordering::Relaxed) {
            since = Instant::now();
        }
    }
}

impl Worker {
    pub(super) fn hear_stream(&mut self, now: Instant, link: &Arc<TurnLink>, packet: &Bytes) {
        self.links.entry(link.client.stream).or_insert_with(|| link.clone());
        self.decide_loaded(now, link.client, packet, false);
        if !link.has_allocation.load(Ordering::Relaxed) {
            link.note(self.server.has_allocation(&link.client));
        }
    }
}
