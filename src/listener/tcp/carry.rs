//! Carries packets between one TCP connection and the packet workers, until either has enough.
//!
//! Reads and writes are independent, so a client that does not read holds up nobody and may still send. A worker that is
//! behind with its work slows the connection down (TCP's own back-pressure); it loses nothing.

use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frames::{self, HEADER};
use super::link::Link;
use super::replay::ByteStream;
use crate::classify::stream::MAX_FIRST_FRAME;
use crate::forward::SocketRequest;
use crate::listener::Inbox;
use crate::listener::parcel::Parcel;

/// From connections to a worker.
pub(in crate::listener) enum FromStream {
    /// A packet arrived.
    Packet(Arc<Link>, bytes::Bytes),
    /// A relay of ours brought a packet.
    Parcel(Arc<Link>, Parcel),
    /// A packet arrived at a worker that does not have its session. It may come after the end of its connection.
    HandedOver(Arc<Link>, bytes::Bytes),
    /// The connection is over.
    Gone(Arc<Link>),
    /// A connection that was asked for is open, from this address of ours.
    Dialled(SocketRequest, Arc<Link>, std::net::SocketAddr),
    /// It is not.
    NotDialled(SocketRequest),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By either end.
    Closed,
    /// No valid check in time.
    NoCheck,
    /// Nothing of use for [`IDLE`].
    Idle,
    /// A frame that is too long, or more waits for the other end than can.
    Broken,
}

/// A connection without a valid check is closed then (xrtc.md §7).
pub(super) const FIRST_CHECK: Duration = Duration::from_secs(10);
/// One that carried nothing of use is closed then; the path of its session is forgotten at the same age.
const IDLE: Duration = Duration::from_secs(30);
/// Longest frame once there was a valid check: all that two bytes of length can say, as UDP would carry it.
const MAX_FRAME: usize = u16::MAX as usize;
/// Bytes per read: a few packets. A quiet connection keeps no more than this.
const READ: usize = 4096;
/// Bytes per write.
const WRITE: usize = 16 << 10;
/// Before a worker that is behind is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Carries until the end; `buffered` was read already. Does not tell workers of the end.
pub(super) async fn carry<S: ByteStream>(
    stream: S,
    buffered: BytesMut,
    link: &Arc<Link>,
    inboxes: &[Inbox],
) -> Ended {
    let (reader, writer) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = read(reader, buffered, link, inboxes) => ended,
        ended = write(writer, link) => ended,
        ended = watch(link) => ended,
    };
    link.close();
    ended
}

/// Tells every worker that knows of the connection.
pub(in crate::listener) async fn tell_gone(link: &Arc<Link>, inboxes: &[Inbox]) {
    link.close();
    for inbox in inboxes {
        deliver(inbox, FromStream::Gone(link.clone())).await;
    }
}

/// Waits until the worker takes the message; one that has stopped needs none.
pub(super) async fn deliver(inbox: &Inbox, message: FromStream) {
    let mut message = message;
    loop {
        match inbox.streams.try_send(message) {
            Ok(()) => return inbox.bell.ring(),
            Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(back)) => message = back,
        }
        inbox.bell.ring();
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    link: &Arc<Link>,
    inboxes: &[Inbox],
) -> Ended {
    loop {
        if deliver_frames(&mut buffer, link, inboxes).await.is_err() {
            return Ended::Broken;
        }
        buffer.reserve(READ);
        match reader.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ended::Closed,
        }
    }
}

async fn deliver_frames(
    buffer: &mut BytesMut,
    link: &Arc<Link>,
    inboxes: &[Inbox],
) -> Result<(), frames::TooLong> {
    loop {
        let is_proven = link.is_to_backend() || link.last_use().is_some();
        let longest = if is_proven { MAX_FRAME } else { MAX_FIRST_FRAME };
        let Some(packet) = frames::next(buffer, longest)? else { break };
        let Some(inbox) = inboxes.get(link.worker() as usize) else { break };
        // By its answer to the first packet the worker may move the link.
        deliver(inbox, FromStream::Packet(link.clone(), packet)).await;
    }
    if let Some(header) = buffer.first_chunk::<HEADER>() {
        buffer.reserve(HEADER + usize::from(u16::from_be_bytes(*header)));
    }
    Ok(())
}

async fn write(mut writer: impl AsyncWrite + Unpin, link: &Link) -> Ended {
    let mut out = BytesMut::new();
    while link.take(&mut out, WRITE).await {
        let written = async {
            writer.write_all(&out).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            return Ended::Closed;
        }
        // A quiet connection keeps nothing.
        out = BytesMut::new();
    }
    if link.has_overflowed() { Ended::Broken } else { Ended::Closed }
}

/// Returns when the connection is of no use.
async fn watch(link: &Link) -> Ended {
    loop {
        let (due, then) = match link.last_use() {
            _ if link.is_to_backend() => return std::future::pending().await,
            Some(at) => (at + IDLE, Ended::Idle),
            None => (link.opened() + FIRST_CHECK, Ended::NoCheck),
        };
        if due <= Instant::now() {
            return then;
        }
        tokio::time::sleep_until(due.into()).await;
    }
}
