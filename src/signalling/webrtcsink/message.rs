//! \[pure\] The messages of the protocol: what is read out of those that come, and how those that go are written. What clients say of
//! themselves (`meta`) and offer stays as it was.

use bytes::Bytes;

use crate::json_edit::{Kind, Value, quote};

const VERSIONS: [&str; 2] = ["v1_0", "v1_1"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Producer,
    Listener,
    Consumer,
}

/// What the sender is told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("expected a JSON object with a type")]
    NotAMessage,
    #[error("unknown message type {0}")]
    UnknownType(String),
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("the protocol version is chosen with the first message")]
    LateVersion,
    #[error("a peer cannot be producer and consumer")]
    TwoRoles,
    #[error("as many producers as there may be")]
    TooManyProducers,
    #[error("as many sessions as the producer may have")]
    TooManySessions,
    #[error("there is no peer {0}")]
    NoPeer(String),
    #[error("neither of the two is a producer or a waiting consumer")]
    NoProducer,
    #[error("a session is with somebody else")]
    OwnSession,
    #[error("this session is between others")]
    NotInSession,
    #[error("only the producer sends offers in a session")]
    OfferOfConsumer,
}

impl Role {
    const ALL: [(&str, Role); 3] =
        [("producer", Role::Producer), ("listener", Role::Listener), ("consumer", Role::Consumer)];

    fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, role)| role)
    }

    fn name(self) -> &'static str {
        Role::ALL.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }
}

/// Fails where a version is chosen that does not exist.
pub(super) fn check_version(message: &Value<'_>) -> Result<(), Fault> {
    let is_known = VERSIONS.contains(&&*required(message, "version")?);
    if is_known { Ok(()) } else { Err(Fault::Expected("version v1_0 or v1_1")) }
}

pub(super) fn roles(message: &Value<'_>) -> Result<Vec<Role>, Fault> {
    const ROLES: &str = "roles, a list of producer, listener and consumer";
    let list =
        message.member("roles").filter(|roles| roles.kind() == Kind::Array).ok_or(Fault::Expected(ROLES))?;
    let mut roles = Vec::new();
    for role in list.elements() {
        let role = role.string().and_then(|name| Role::named(&name)).ok_or(Fault::Expected(ROLES))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

pub(super) fn required(message: &Value<'_>, key: &'static str) -> Result<String, Fault> {
    let expected = match key {
        "peerId" => "peerId, a text",
        "sessionId" => "sessionId, a text",
        _ => "version, a text",
    };
    Ok(message.member(key).and_then(|value| value.string()).ok_or(Fault::Expected(expected))?.into_owned())
}

pub(super) fn status(id: &str, roles: &[Role], meta: &[u8]) -> Bytes {
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{}\"", role.name())).collect();
    let mut text =
        format!(r#"{{"type":"peerStatusChanged","roles":[{}],"meta":"#, roles.join(",")).into_bytes();
    text.extend_from_slice(meta);
    text.extend_from_slice(format!(r#","peerId":"{id}"}}"#).as_bytes());
    text.into()
}

pub(super) fn ended(session: &str) -> String {
    format!(r#"{{"type":"endSession","sessionId":"{session}"}}"#)
}

/// Version 4 (RFC 9562 §5.4).
pub(super) fn uuid(random: [u8; 16]) -> String {
    let mut id = u128::from_be_bytes(random);
    id = id & !(0xf << 76) | 4 << 76;
    id = id & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

pub(super) fn welcome(id: &str) -> String {
    format!(r#"{{"type":"welcome","peerId":"{id}"}}"#)
}

pub(super) fn error(fault: &Fault) -> Bytes {
    [&br#"{"type":"error","details":"#[..], &quote(&fault.to_string()), b"}"].concat().into()
}

/// Tells a consumer that its session is there.
pub(super) fn started(producer: &str, session: &str) -> String {
    format!(r#"{{"type":"sessionStarted","peerId":"{producer}","sessionId":"{session}"}}"#)
}

/// Tells a producer to begin one; `offer` is JSON.
pub(super) fn start(consumer: &str, session: &str, offer: &[u8]) -> Bytes {
    let head = format!(r#"{{"type":"startSession","peerId":"{consumer}","sessionId":"{session}","offer":"#);
    [head.as_bytes(), offer, b"}"].concat().into()
}

/// Ids and meta of peers.
pub(super) fn list<'a>(kind: &str, key: &str, peers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut text = format!(r#"{{"type":"{kind}","{key}":["#).into_bytes();
    for (at, (id, meta)) in peers.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.extend_from_slice(format!(r#"{comma}{{"id":"{id}","meta":"#).as_bytes());
        text.extend_from_slice(meta);
        text.push(b'}');
    }
    text.extend_from_slice(b"]}");
    text
}
