//! \[pure\] What a room protocol is to the shell: a state machine from what happens (a knock, a message, time, an end) to
//! [`Effect`]s, which the shell carries out in their order.
//!
//! A protocol does no I/O and has no clock and no randomness of its own; both come with every call. It never sees a frame:
//! fragments, pings, closes and limits on sizes and queues are the shell's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::{RoomLimits, RoomRules};

/// One connection, from its upgrade to its end; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u64);

/// What a client says before its connection becomes a WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// The raw path.
    pub path: &'a str,
    /// What of it stands behind the prefix that chose the route; all of it where none did.
    pub rest: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The client, as trusted proxies tell.
    pub client: IpAddr,
}

/// Why a connection never becomes a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room is meant by this path.
    #[error("no room is behind this path")]
    NotFound,
    /// The token in the query is wrong or missing.
    #[error("the token is missing or wrong")]
    Unauthorized,
    /// The room, or the server, has as many as it may.
    #[error("{0}")]
    Full(&'static str),
    /// This address connects too often.
    #[error("too many connections per second from this address")]
    TooOften,
    /// The edge is about to stop.
    #[error("the edge stops")]
    Stopping,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A text message, valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The deadline that the protocol has set is over.
    Deadline,
    /// What came of [`Effect::Ask`].
    Answer(Answer),
    /// It is gone; nothing can be sent to it any more. The last thing that is heard of it.
    Gone(Departure),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The client said goodbye, with this code, 1005 if it named none.
    Left(u16),
    /// The connection broke or fell silent. What was still to be sent to it, in order.
    Lost(Vec<Bytes>),
    /// The edge closed it.
    Closed,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a text message.
    Send(PeerKey, Bytes),
    /// Send a binary message.
    SendBinary(PeerKey, Bytes),
    /// Close a connection, behind what was sent before. [`Input::Gone`] follows.
    Close(PeerKey, u16, Cow<'static, str>),
    /// Close a connection at once; what it has not taken comes back with its [`Departure::Lost`].
    CutOff(PeerKey, u16, Cow<'static, str>),
    /// Set the one deadline of the connection that the input came from; `None` takes it away.
    Deadline(Option<Instant>),
    /// Find something out. Messages of the connection that the input came from wait until the answer is there.
    Ask(Question),
    /// Tell those outside who want to know, in order.
    Tell(Notice),
    /// Begin a conversation with the route's media server; rooms stay at the server that they were first brought to.
    Dial(LinkKey, String),
    /// Say something in it, as soon as it has begun.
    ToServer(LinkKey, Bytes),
    /// End it, behind what was said before.
    HangUp(LinkKey),
}

/// A conversation with a media server, in the name of somebody in a room; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey(pub u64);

/// What comes from a media server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// It says something.
    Text(Bytes),
    /// The conversation is over, or never began.
    Gone,
}

/// Something that a protocol cannot know by itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether this is that user.
    Login {
        /// Who it claims to be.
        username: String,
        /// What it proves that with.
        password: String,
        /// Where it wants to go.
        room: String,
        /// From where it comes.
        client: IpAddr,
    },
    /// Whose bearer this is.
    Bearer {
        /// The bearer.
        bearer: String,
        /// Where its owner wants to go.
        room: String,
        /// From where it comes.
        client: IpAddr,
    },
}

/// Passwords and bearers are never shown.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Question::Login { username, room, client, .. } => {
                write!(f, "Login({username:?}, {room:?}, {client})")
            }
            Question::Bearer { room, client, .. } => write!(f, "Bearer({room:?}, {client})"),
        }
    }
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Login`].
    Login {
        /// Who it is, as asked for.
        username: String,
        /// Whether it is.
        is_valid: bool,
    },
    /// To [`Question::Bearer`].
    Bearer {
        /// Whose it is, if anybody's.
        user: Option<String>,
    },
}

/// What happened in a room, for a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The room; notices of one room stay in order.
    pub room: String,
    /// What it is about, such as `room.join`.
    pub topic: &'static str,
    /// A JSON object.
    pub body: Vec<u8>,
}

/// What every call brings along.
pub struct Context<'a> {
    /// Now, for deadlines.
    pub now: Instant,
    /// Now, as time since 1970.
    pub unix: Duration,
    /// Fills a buffer with unpredictable bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
    /// What is to be done, in order.
    pub effects: &'a mut Vec<Effect>,
    /// Whether those who are told are so far behind that a notice would be lost.
    pub notices_are_full: bool,
}

impl Context<'_> {
    /// Sends a text message.
    pub fn send(&mut self, to: PeerKey, text: impl Into<Bytes>) {
        self.effects.push(Effect::Send(to, text.into()));
    }

    /// Closes a connection.
    pub fn close(&mut self, peer: PeerKey, code: u16, reason: impl Into<Cow<'static, str>>) {
        self.effects.push(Effect::Close(peer, code, reason.into()));
    }

    /// Unpredictable bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}

/// A client that takes nothing for so long holds up whoever talks to it; where a protocol says nothing else.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How the shell finds out that a client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// A ping is sent after so long a silence, or every so often.
    pub ping: Option<Ping>,
    /// Without anything received for so long the connection is closed.
    pub silence: Option<Duration>,
    /// The code of that close.
    pub close_code: u16,
    /// A client that takes nothing for so long, though something is there for it, is a slow one.
    pub write_timeout: Duration,
}

impl Keepalive {
    /// Pings after so long a silence, and gives up after two pings that nothing answered.
    pub fn after_silence(time: Duration) -> Self {
        Keepalive {
            ping: Some(Ping::AfterSilence(time)),
            silence: Some(time * 3),
            close_code: 1011,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// When pings are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Once per this time, whatever comes.
    Every(Duration),
    /// When nothing came for this time.
    AfterSilence(Duration),
}

/// A room as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Who is in it, in the order of joining.
    pub people: Vec<Person>,
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The connection.
    pub key: PeerKey,
    /// What the protocol calls it.
    pub id: String,
    /// What it calls itself; may be empty.
    pub name: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rooms.
    pub rooms: usize,
    /// Those who are in rooms.
    pub people: usize,
}

/// The rules of one room protocol, with the state of all its rooms on one route.
pub trait Protocol: Send {
    /// How the shell finds out that a client is gone.
    fn keepalive(&self) -> Keepalive;

    /// A client wants to come in. After `Ok` it is there until [`Input::Gone`].
    fn open(&mut self, cx: &mut Context<'_>, peer: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal>;

    /// Something happens to a connection.
    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input);

    /// The media server says something.
    fn server(&mut self, _cx: &mut Context<'_>, _link: LinkKey, _said: FromServer) {}

    /// A second is over. For what is bound to no connection.
    fn tick(&mut self, _cx: &mut Context<'_>) {}

    /// Takes somebody out who is in a room without a connection; false: there is nobody like that.
    fn evict(&mut self, _cx: &mut Context<'_>, _id: &str) -> bool {
        false
    }

    /// Other rules and limits from now on; who is in stays in.
    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits);

    /// How much there is now.
    fn size(&self) -> Size;

    /// All rooms, in no order.
    fn rooms(&self) -> Vec<Room>;

    /// Sends an event of the server to all in a room, and says to how many; `None`: this protocol has no such message.
    fn publish(&mut self, _cx: &mut Context<'_>, _room: &str, _event: &ServerEvent) -> Option<usize> {
        None
    }

    /// Sends an event of the server to somebody; false: there is nobody of that id.
    fn send(&mut self, _cx: &mut Context<'_>, _id: &str, _event: &ServerEvent) -> bool {
        false
    }

    /// What a request that is no upgrade gets at this path, where that is something of the protocol's own.
    fn page(&self, _path: &str) -> Option<&'static str> {
        None
    }
}

/// A message that the operator's application sends into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name.
    pub event: String,
    /// A JSON value.
    pub data: Option<Vec<u8>>,
}
