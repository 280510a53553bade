//! \[shell\] A conversation with the media server of a route, in the name of somebody in a room: a WebSocket that the edge
//! opens. Where the server is and what becomes of SDP on the way is the business of who supplies the [`MediaServer`].

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Weak;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::hub::Hub;
use super::protocol::{FromServer, LinkKey};
use crate::ws_frame::{Decoder, Message, Sender, close, encode};

/// For a server to be reached and to answer the handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Takes nothing for so long: gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that wait for the server, of one link; a client's requests wait for their answers, so there are few.
const QUEUE: usize = 256;
/// Larger than any answer of Janus.
const MESSAGE_LIMIT: usize = 1 << 20;

/// An open WebSocket, behind its handshake.
pub trait Conversation: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Conversation for T {}

/// What [`MediaServer::dial`] comes to.
pub type Dialled = Pin<Box<dyn Future<Output = io::Result<Box<dyn Conversation>>> + Send>>;

/// Opens WebSockets to the media server of a route.
pub trait MediaServer: Send + Sync + fmt::Debug {
    /// To the server of this room: the same one as long as anybody in the room has a conversation with it.
    fn dial(&self, room: &str) -> Dialled;
}

/// The way into a conversation. It ends, behind what was said, when this is dropped.
pub(super) struct Link(mpsc::Sender<Bytes>);

impl Link {
    /// Begins one. The hub hears of it by [`FromServer`].
    pub(super) fn begin(hub: Weak<Hub>, key: LinkKey, server: Option<&dyn MediaServer>, room: &str) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dialled = server.map(|server| server.dial(room));
        tokio::spawn(async move {
            let ended = match dialled {
                Some(dialled) => converse(&hub, key, dialled, waiting).await,
                None => Err(io::Error::other("no media server is configured")),
            };
            if let Err(error) = &ended {
                debug!(link = key.0, %error, "conversation with the media server ended");
            }
            if let Some(hub) = hub.upgrade() {
                hub.server(key, FromServer::Gone);
            }
        });
        Link(queue)
    }

    /// False: the server does not take what it is told.
    pub(super) fn say(&self, text: Bytes) -> bool {
        self.0.try_send(text).is_ok()
    }
}

async fn converse(
    hub: &Weak<Hub>,
    key: LinkKey,
    dialled: Dialled,
    mut waiting: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let io = timeout(DIAL_TIMEOUT, dialled).await??;
    let (mut reader, mut writer) = split(io);
    let mut decoder = Decoder::new(Sender::Server, MESSAGE_LIMIT);
    loop {
        let mut out = VecDeque::new();
        tokio::select! {
            text = waiting.recv() => match text {
                Some(text) => out.push_back(Message::Text(text)),
                None => return write(&mut writer, [close(1000, "")]).await,
            },
            read = reader.read_buf(decoder.buffer()) => {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while let Some(message) = decoder.next().map_err(io::Error::other)? {
                    match message {
                        Message::Text(text) | Message::Binary(text) => {
                            let Some(hub) = hub.upgrade() else { return Ok(()) };
                            hub.server(key, FromServer::Text(text));
                        }
                        Message::Ping(payload) => out.push_back(Message::Pong(payload)),
                        Message::Pong(_) => {}
                        Message::Close(_) => return write(&mut writer, [close(1000, "")]).await,
                    }
                }
            }
        }
        write(&mut writer, out).await?;
    }
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    messages: impl IntoIterator<Item = Message>,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    for message in messages {
        encode(&message, Some(rand::random()), &mut out);
    }
    timeout(WRITE_TIMEOUT, async {
        writer.write_all(&out).await?;
        writer.flush().await
    })
    .await?
}
