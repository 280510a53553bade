//! \[shell\] One WebSocket of a room protocol, from its upgrade to its end: frames in and out, pings, deadlines, closes.
//!
//! Reading and writing go on beside each other, so a client that reads nothing can still say goodbye. Memory is taken when
//! something moves and given back after it: most clients are silent most of the time.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::entry::Entry;
use super::outbox::{End, Next, Outbox};
use super::protocol::{Departure, Input, Ping};
use crate::ws_frame::{Decoder, Message, Sender, Violation, close, encode};

/// How long a client may take to read what was sent before its goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long it may take to close its connection after that.
const LINGER: Duration = Duration::from_secs(1);
/// Read at once on the stack, while nothing or little is expected.
const READ_SMALL: usize = 1 << 10;
/// Read at once within a large message.
const READ_LARGE: usize = 16 << 10;
/// No status code was present (RFC 6455 §7.1.5).
const NO_CODE: u16 = 1005;

/// Why nothing more is read.
#[derive(Debug)]
enum Ending {
    /// The client said goodbye.
    Left(Bytes),
    /// It broke the protocol.
    Violated(Violation),
    /// Nothing was heard of it for too long.
    Silent,
    /// The connection is gone.
    Gone,
}

/// Why nothing more is written.
#[derive(Debug)]
enum Written {
    /// The goodbye, with its code.
    Close(u16),
    /// The client does not take anything.
    Stuck,
    /// The connection is gone.
    Gone,
}

impl Entry {
    /// Serves the connection to its end. When `stop` resolves, the client is told that the server goes away.
    pub async fn serve<S>(self, io: S, stop: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite,
    {
        let (reader, mut writer) = split(io);
        let mut reader = Reader::new(reader, self.message_limit);
        let code = {
            let mut reading = pin!(self.read(&mut reader));
            let mut writing = pin!(self.write(&mut writer));
            let mut stop = pin!(stop);
            tokio::select! {
                ending = reading.as_mut() => self.part(ending, writing.as_mut()).await,
                written = writing.as_mut() => self.written(written),
                () = stop.as_mut() => {
                    self.goodbye(End { code: 1001, reason: "the edge stops".into() });
                    self.written(writing.await)
                }
            }
        };
        self.hub.counters.closed(code);
        debug!(route = %self.hub.place.1, peer = self.peer.0, code, "room connection ended");
        let _ = Box::pin(timeout(LINGER, leave(&mut reader, &mut writer))).await;
    }

    /// The client goes first: answers what is to be answered. Returns the code of the end.
    async fn part(
        &self,
        ending: Ending,
        writing: std::pin::Pin<&mut impl Future<Output = Written>>,
    ) -> Option<u16> {
        let end = match ending {
            Ending::Gone => {
                self.depart(Departure::Lost(self.unsent()));
                return None;
            }
            Ending::Left(payload) => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                self.depart(Departure::Left(code.unwrap_or(NO_CODE)));
                End { code: code.unwrap_or(NO_CODE), reason: "".into() }
            }
            Ending::Violated(violation) => {
                self.depart(Departure::Closed);
                End { code: violation.close_code(), reason: violation.to_string().into() }
            }
            Ending::Silent => {
                self.depart(Departure::Lost(self.unsent()));
                End { code: self.keepalive.close_code, reason: "".into() }
            }
        };
        let code = end.code;
        self.outbox.cut(end);
        // An earlier goodbye of the edge is the one that is written.
        match writing.await {
            Written::Close(code) => Some(code),
            Written::Stuck | Written::Gone => Some(code),
        }
    }

    fn written(&self, written: Written) -> Option<u16> {
        match written {
            Written::Close(code) => Some(code),
            Written::Stuck => {
                self.depart(Departure::Closed);
                Some(1013)
            }
            Written::Gone => {
                self.depart(Departure::Lost(self.unsent()));
                None
            }
        }
    }

    fn goodbye(&self, end: End) {
        self.outbox.close(end);
        self.depart(Departure::Closed);
    }

    /// Hands messages to the hub, strictly in order.
    async fn read<S: AsyncRead>(&self, reader: &mut Reader<S>) -> Ending {
        let mut times = Times::start();
        loop {
            let message = match reader.decoder.next() {
                Ok(Some(message)) => message,
                Ok(None) => match self.more(reader, &mut times).await {
                    Ok(()) => continue,
                    Err(ending) => return ending,
                },
                Err(violation) => return Ending::Violated(violation),
            };
            let input = match message {
                Message::Text(text) => Input::Text(text),
                Message::Binary(data) => Input::Binary(data),
                Message::Close(payload) => return Ending::Left(payload),
                Message::Ping(payload) => {
                    self.push(Message::Pong(payload));
                    continue;
                }
                Message::Pong(_) => continue,
            };
            if let Some(question) = self.hub.input(self.peer, input) {
                // Whoever has to be asked is asked in the client's own time: what it sends meanwhile waits. The question takes
                // kilobytes, which a client that is in must not keep.
                let mut answer = Box::pin(self.hub.answer(question));
                let answer = loop {
                    tokio::select! {
                        answer = answer.as_mut() => break answer,
                        () = sleep_until(self.wakes_at(&times)) => {
                            if let Err(ending) = self.on_time(&mut times) { return ending }
                        }
                    }
                };
                self.hub.input(self.peer, Input::Answer(answer));
            }
        }
    }

    /// Waits for more bytes, and does what is due meanwhile.
    async fn more<S: AsyncRead>(&self, reader: &mut Reader<S>, times: &mut Times) -> Result<(), Ending> {
        let mut filling = pin!(reader.fill());
        loop {
            tokio::select! {
                filled = filling.as_mut() => {
                    filled.map_err(|_| Ending::Gone)?;
                    times.heard = Instant::now();
                    return Ok(());
                }
                () = sleep_until(self.wakes_at(times)) => self.on_time(times)?,
            }
        }
    }

    fn wakes_at(&self, times: &Times) -> Instant {
        let silence = self.keepalive.silence.map(|silence| times.heard + silence);
        let deadline = self.outbox.deadline().map(Instant::from_std);
        let due = [self.ping_at(times), silence, deadline].into_iter().flatten().min();
        // Nothing is ever due with `idle_timeout: infinity`; waking up once a day costs nothing.
        due.unwrap_or_else(|| Instant::now() + Duration::from_hours(24))
    }

    fn ping_at(&self, times: &Times) -> Option<Instant> {
        Some(match self.keepalive.ping? {
            Ping::Every(time) => times.pinged + time,
            Ping::AfterSilence(time) => times.pinged.max(times.heard) + time,
        })
    }

    fn on_time(&self, times: &mut Times) -> Result<(), Ending> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.outbox.deadline().map(Instant::from_std)) {
            self.outbox.set_deadline(None);
            self.hub.input(self.peer, Input::Deadline);
        }
        if is_due(self.keepalive.silence.map(|silence| times.heard + silence)) {
            return Err(Ending::Silent);
        }
        if is_due(self.ping_at(times)) {
            times.pinged = now;
            self.push(Message::Ping(Bytes::new()));
        }
        Ok(())
    }

    /// Writes what comes into the outbox, up to the goodbye.
    async fn write<S: AsyncWrite>(&self, writer: &mut WriteHalf<S>) -> Written {
        loop {
            match self.outbox.next().await {
                Next::Messages(messages) => {
                    // What writing takes is taken only while something is written.
                    let patience = self.keepalive.write_timeout;
                    let wrote = Box::pin(write_all(writer, &self.outbox, &messages, patience)).await;
                    if let Err(written) = wrote {
                        self.outbox.put_back(messages);
                        return written;
                    }
                }
                Next::Close(End { code, reason }) => {
                    let goodbye = match code {
                        NO_CODE => Message::Close(Bytes::new()),
                        code => close(code, &reason),
                    };
                    let goodbye = VecDeque::from([goodbye]);
                    return match Box::pin(write_all(writer, &self.outbox, &goodbye, GOODBYE)).await {
                        Ok(()) => Written::Close(code),
                        Err(written) => written,
                    };
                }
            }
        }
    }
}

/// When what happened.
struct Times {
    heard: Instant,
    pinged: Instant,
}

impl Times {
    fn start() -> Self {
        let now = Instant::now();
        Times { heard: now, pinged: now }
    }
}

/// The reading half.
struct Reader<S> {
    io: ReadHalf<S>,
    decoder: Decoder,
}

impl<S: AsyncRead> Reader<S> {
    fn new(io: ReadHalf<S>, limit: usize) -> Self {
        Reader { io, decoder: Decoder::new(Sender::Client, limit) }
    }

    /// Reads what there is. May be dropped and called again.
    async fn fill(&mut self) -> io::Result<()> {
        let missing = self.decoder.missing();
        let buffer = self.decoder.buffer();
        if buffer.is_empty() {
            // Gives the memory of a message back.
            *buffer = BytesMut::new();
        }
        let read = if missing > READ_SMALL {
            buffer.reserve(missing.min(READ_LARGE));
            self.io.read_buf(buffer).await?
        } else {
            let io = &mut self.io;
            poll_fn(|cx| poll_small(Pin::new(&mut *io), cx, buffer)).await?
        };
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Reads by way of the stack: a client that says nothing, which most do most of the time, costs no buffer.
fn poll_small(
    io: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); READ_SMALL];
    let mut read = ReadBuf::uninit(&mut space);
    ready!(io.poll_read(cx, &mut read))?;
    buffer.extend_from_slice(read.filled());
    Poll::Ready(Ok(read.filled().len()))
}

/// Writes messages; gives up where nothing is taken for `patience`, or not in time once a goodbye waits.
async fn write_all<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    outbox: &Outbox,
    messages: &VecDeque<Message>,
    patience: Duration,
) -> Result<(), Written> {
    let mut bytes = BytesMut::new();
    for message in messages {
        encode(message, None, &mut bytes);
    }
    let write = async {
        while !bytes.is_empty() {
            let some = timeout(patience, writer.write_buf(&mut bytes)).await;
            match some.map_err(|_| Written::Stuck)? {
                Ok(0) | Err(_) => return Err(Written::Gone),
                Ok(_) => {}
            }
        }
        writer.flush().await.map_err(|_| Written::Gone)
    };
    let no_patience = async {
        outbox.ended().await;
        sleep(GOODBYE).await;
    };
    tokio::select! {
        biased;
        wrote = write => wrote,
        () = no_patience => Err(Written::Stuck),
    }
}

/// Says that nothing more comes, and takes what still comes: a client that is sending reads its close only then.
async fn leave<S: AsyncRead + AsyncWrite>(reader: &mut Reader<S>, writer: &mut WriteHalf<S>) {
    let _ = writer.shutdown().await;
    let _ = tokio::io::copy(&mut reader.io, &mut tokio::io::sink()).await;
}
