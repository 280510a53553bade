//! Two open WebSockets joined into one: messages in order, closes and pings end to end, each side's faults told to that side.
//!
//! One message per direction is in memory; a side that does not read slows down the other and nobody else. Knows nothing
//! of handshakes and routes; what becomes of a text or binary message says its [`Judge`].

use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::dialect::{Side, Verdict};
use crate::ws_frame::{Decoder, Message, Sender, Violation, close, encode};

/// Decides over text and binary messages. Media servers read both alike, so neither may pass unread.
pub(super) trait Judge: Sync {
    fn judge(&self, from: Side, data: &[u8]) -> Verdict;
}

/// How long the second side may take to answer a close, and what it still has to say before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long both sides may take to answer when the edge stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a side may take to close its connection after everything has been said.
const LINGER: Duration = Duration::from_secs(1);
/// A side that takes no message for this long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Read at once: little while nothing is expected, since most WebSockets are idle; more within a large message.
const READ_AT_ONCE: (usize, usize) = (1 << 10, 64 << 10);

/// Joins `client` and `upstream` until one of them closes or `stop` resolves.
pub(super) async fn relay<S>(
    client: S,
    upstream: S,
    judge: &impl Judge,
    limit: usize,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite,
{
    let (client_reader, client) = ends(client, Side::Client, limit);
    let (upstream_reader, upstream) = ends(upstream, Side::Backend, limit);
    let mut up = pin!(pump(client_reader, &client, &upstream, judge));
    let mut down = pin!(pump(upstream_reader, &upstream, &client, judge));
    let (first, near, far, second) = tokio::select! {
        first = up.as_mut() => (first, &client, &upstream, down),
        first = down.as_mut() => (first, &upstream, &client, up),
        () = stop => return going_away(up, down, &client, &upstream).await,
    };
    farewell(first, near, far, second).await;
}

/// Joins two connections byte by byte until both directions have ended or `stop` resolves.
///
/// An error of one direction ends the other one orderly: what it has read is written first.
pub(super) async fn tunnel<S>(client: S, upstream: S, stop: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite,
{
    let (client_reader, client_writer) = split(client);
    let (upstream_reader, upstream_writer) = split(upstream);
    let mut up = pin!(copy(client_reader, upstream_writer));
    let mut down = pin!(copy(upstream_reader, client_writer));
    let second = tokio::select! {
        () = up.as_mut() => down,
        () = down.as_mut() => up,
        () = stop => return,
    };
    let _ = timeout(CLOSE_TIMEOUT, second).await;
}

/// Why a direction ended, seen from the side that is read.
#[derive(Debug)]
enum Ending {
    /// It said so.
    Closed(Message),
    /// It broke the protocol.
    Violated(Violation),
    /// Its connection ended without a close.
    Gone,
    /// The other side takes nothing any more.
    OtherGone,
}

/// The reading end of a side.
struct Reader<S> {
    io: ReadHalf<S>,
    decoder: Decoder,
}

/// A side as far as one writes to it.
struct Peer<S> {
    side: Side,
    writer: Mutex<Writer<S>>,
}

struct Writer<S> {
    io: WriteHalf<S>,
    out: BytesMut,
    /// Set by a close, by an error, and while a message is on its way: what was broken off must not be followed by more.
    is_closed: bool,
}

fn ends<S: AsyncRead + AsyncWrite>(io: S, side: Side, limit: usize) -> (Reader<S>, Peer<S>) {
    let sender = match side {
        Side::Client => Sender::Client,
        Side::Backend => Sender::Server,
    };
    let (reader, writer) = split(io);
    let writer = Mutex::new(Writer { io: writer, out: BytesMut::new(), is_closed: false });
    (Reader { io: reader, decoder: Decoder::new(sender, limit) }, Peer { side, writer })
}

/// Carries the messages of `near` to `far`, in order, until one of them ends.
async fn pump<S>(
    mut reader: Reader<S>,
    near: &Peer<S>,
    far: &Peer<S>,
    judge: &impl Judge,
) -> (Ending, Reader<S>)
where
    S: AsyncRead + AsyncWrite,
{
    loop {
        let message = match reader.next().await {
            Ok(Message::Close(payload)) => return (Ending::Closed(Message::Close(payload)), reader),
            Ok(message) => message,
            Err(ending) => return (ending, reader),
        };
        let (back, forth) = destinations(near.side, message, judge);
        if let Some(answer) = back
            && near.send(&answer).await.is_err()
        {
            return (Ending::Gone, reader);
        }
        if let Some(message) = forth
            && far.send(&message).await.is_err()
        {
            return (Ending::OtherGone, reader);
        }
    }
}

/// What goes back to the sender of `message`, and what goes on; in the sender's own kind of message.
fn destinations(from: Side, message: Message, judge: &impl Judge) -> (Option<Message>, Option<Message>) {
    let (data, kind): (_, fn(Bytes) -> Message) = match message {
        Message::Text(text) => (text, Message::Text),
        Message::Binary(data) => (data, Message::Binary),
        other => return (None, Some(other)),
    };
    let message = |data: Vec<u8>| Some(kind(data.into()));
    match judge.judge(from, &data) {
        Verdict::Pass => (None, Some(kind(data))),
        Verdict::Replace(replacement) => (None, message(replacement)),
        Verdict::Answer(answer) => (message(answer), None),
        Verdict::Swallow | Verdict::Respond { .. } => (None, None),
        Verdict::Refuse { reason, body } => {
            debug!(?from, reason, "message refused");
            (Some(body).filter(|body| !body.is_empty()).and_then(message), None)
        }
    }
}

/// Ends both sides after `near` ended first; `second` still carries what `far` has to say.
async fn farewell<S, F>(first: (Ending, Reader<S>), near: &Peer<S>, far: &Peer<S>, second: Pin<&mut F>)
where
    S: AsyncRead + AsyncWrite,
    F: Future<Output = (Ending, Reader<S>)>,
{
    let (ending, mut near_reader) = first;
    debug!(side = ?near.side, ?ending, "WebSocket ended");
    let to_far = match &ending {
        Ending::Closed(message) => Some(message.clone()),
        Ending::Violated(_) | Ending::Gone => Some(other_ended(far.side)),
        Ending::OtherGone => None,
    };
    let to_near = match &ending {
        Ending::Closed(message) => message.clone(),
        Ending::Violated(violation) => close(violation.close_code(), &violation.to_string()),
        Ending::Gone | Ending::OtherGone => other_ended(near.side),
    };
    let tell = async {
        if matches!(ending, Ending::Violated(_)) {
            let _ = near.send(&to_near).await;
        }
        if let Some(message) = to_far {
            let _ = far.send(&message).await;
        }
    };
    let hear = async {
        let (ending, reader) = second.await;
        if let Ending::Closed(message) = ending {
            let _ = near.send(&message).await;
        }
        reader
    };
    let heard = tokio::select! {
        heard = timeout(CLOSE_TIMEOUT, async { tokio::join!(tell, hear).1 }) => heard.ok(),
        // A side that is still sending reads its close only if somebody takes what it sends.
        () = async { near_reader.discard().await; pending().await } => None,
    };
    let _ = timeout(CLOSE_TIMEOUT, near.send(&to_near)).await;
    let leave_far = async {
        far.shutdown().await;
        if let Some(mut reader) = heard {
            reader.discard().await;
        }
    };
    let leave_near = async {
        near.shutdown().await;
        near_reader.discard().await;
    };
    let _ = timeout(LINGER, async { tokio::join!(leave_near, leave_far) }).await;
}

/// Tells both sides that the edge stops, and gives them a moment to answer.
async fn going_away<S, F>(up: Pin<&mut F>, down: Pin<&mut F>, client: &Peer<S>, upstream: &Peer<S>)
where
    S: AsyncRead + AsyncWrite,
    F: Future<Output = (Ending, Reader<S>)>,
{
    let message = close(1001, "the edge stops");
    let tell = async { tokio::join!(client.send(&message), upstream.send(&message)) };
    let _ = timeout(STOP_TIMEOUT, async { tokio::join!(up, down, tell) }).await;
    let _ = timeout(LINGER / 2, async { tokio::join!(client.shutdown(), upstream.shutdown()) }).await;
}

/// What a side is told when the other one is gone: the client that its server failed, the backend that its client left.
fn other_ended(side: Side) -> Message {
    match side {
        Side::Client => close(1011, "the upstream closed the connection"),
        Side::Backend => close(1001, "the client left"),
    }
}

impl<S: AsyncRead + AsyncWrite> Reader<S> {
    async fn next(&mut self) -> Result<Message, Ending> {
        loop {
            if let Some(message) = self.decoder.next().map_err(Ending::Violated)? {
                return Ok(message);
            }
            let wanted = self.decoder.missing().clamp(READ_AT_ONCE.0, READ_AT_ONCE.1);
            let buffer = self.decoder.buffer();
            if buffer.is_empty() {
                // Gives the memory of a large message back.
                *buffer = BytesMut::new();
            }
            buffer.reserve(wanted);
            match self.io.read_buf(buffer).await {
                Ok(0) | Err(_) => return Err(Ending::Gone),
                Ok(_) => {}
            }
        }
    }

    /// Reads and drops everything up to the end of the connection.
    async fn discard(&mut self) {
        let _ = tokio::io::copy(&mut self.io, &mut tokio::io::sink()).await;
    }
}

impl<S: AsyncRead + AsyncWrite> Peer<S> {
    async fn send(&self, message: &Message) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        let mask = (self.side == Side::Backend).then(rand::random);
        writer.send(message, mask).await
    }

    async fn shutdown(&self) {
        let mut writer = self.writer.lock().await;
        writer.is_closed = true;
        let _ = writer.io.shutdown().await;
    }
}

impl<S: AsyncRead + AsyncWrite> Writer<S> {
    async fn send(&mut self, message: &Message, mask: Option<[u8; 4]>) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        self.out = BytesMut::new();
        encode(message, mask, &mut self.out);
        let write = async {
            self.io.write_all_buf(&mut self.out).await?;
            self.io.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await.map_err(io::Error::from)??;
        self.is_closed = matches!(message, Message::Close(_));
        Ok(())
    }
}

async fn copy<S: AsyncRead + AsyncWrite>(mut from: ReadHalf<S>, mut to: WriteHalf<S>) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
#[path = "ws_relay_tests.rs"]
mod tests;
