//! A TURN client for tests: builds requests, reads answers; knows nothing of the server.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each uses a part of this"
)]

use std::net::SocketAddr;

use xrtc::auth::LongTermKeys;
use xrtc::stun::{AttributeType, Builder, Class, ErrorCode, Message, Method, TransactionId};
use xrtc::turn::wire::{attribute, method};

/// Who signs, and how.
#[derive(Clone)]
pub struct Signer {
    pub username: String,
    pub realm: String,
    pub nonce: Vec<u8>,
    pub keys: LongTermKeys,
    /// Sign with SHA-256, and say so.
    pub sha256: bool,
}

impl Signer {
    pub fn new(username: &str, password: &str, realm: &str, nonce: &[u8]) -> Signer {
        let keys = LongTermKeys::new(username, realm, password);
        Signer { username: username.into(), realm: realm.into(), nonce: nonce.into(), keys, sha256: false }
    }
}

pub type Attributes<'a> = &'a [(AttributeType, Vec<u8>)];

pub fn id(number: u64) -> TransactionId {
    let mut id = [7; 12];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

/// A request with these attributes, signed.
pub fn request(method: Method, number: u64, attributes: Attributes<'_>, signer: Option<&Signer>) -> Vec<u8> {
    let mut bytes = vec![0; 1500];
    let mut builder = Builder::new(&mut bytes, Class::Request, method, id(number));
    for (typ, value) in attributes {
        builder = builder.attribute(*typ, value);
    }
    if let Some(signer) = signer {
        builder = builder
            .attribute(AttributeType::USERNAME, signer.username.as_bytes())
            .attribute(AttributeType::REALM, signer.realm.as_bytes())
            .attribute(AttributeType::NONCE, &signer.nonce);
        builder = if signer.sha256 {
            builder
                .attribute(attribute::PASSWORD_ALGORITHMS, &[0, 1, 0, 0, 0, 2, 0, 0])
                .attribute(attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
                .integrity_sha256(&signer.keys.sha256_sha256)
        } else {
            builder.integrity(&signer.keys.md5)
        };
    }
    let len = builder.finish().unwrap();
    bytes.truncate(len);
    bytes
}

/// A request with peers.
pub fn with_peers(
    method: Method,
    number: u64,
    peers: &[SocketAddr],
    attributes: Attributes<'_>,
    signer: &Signer,
) -> Vec<u8> {
    let mut all: Vec<(AttributeType, Vec<u8>)> = attributes.to_vec();
    all.extend(peers.iter().map(|peer| (attribute::XOR_PEER_ADDRESS, xor(*peer, number))));
    request(method, number, &all, Some(signer))
}

/// The value of an XORed address.
pub fn xor(addr: SocketAddr, number: u64) -> Vec<u8> {
    let mut bytes = [0; 64];
    let builder = Builder::new(&mut bytes, Class::Request, Method::BINDING, id(number));
    let len = builder.xor_mapped_address(addr).finish().unwrap();
    bytes[24..len].to_vec()
}

pub fn udp() -> (AttributeType, Vec<u8>) {
    (attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])
}

pub fn lifetime(seconds: u32) -> (AttributeType, Vec<u8>) {
    (attribute::LIFETIME, seconds.to_be_bytes().to_vec())
}

pub fn family(number: u8) -> (AttributeType, Vec<u8>) {
    (attribute::REQUESTED_ADDRESS_FAMILY, vec![number, 0, 0, 0])
}

/// IPv4 and IPv6 at once, if `number` is 2.
pub fn also(number: u8) -> (AttributeType, Vec<u8>) {
    (attribute::ADDITIONAL_ADDRESS_FAMILY, vec![number, 0, 0, 0])
}

pub fn channel(number: u16) -> (AttributeType, Vec<u8>) {
    let [high, low] = number.to_be_bytes();
    (attribute::CHANNEL_NUMBER, vec![high, low, 0, 0])
}

pub fn allocate(number: u64, signer: Option<&Signer>) -> Vec<u8> {
    request(method::ALLOCATE, number, &[udp()], signer)
}

/// A Send indication.
pub fn send(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1500];
    let len = Builder::new(&mut bytes, Class::Indication, method::SEND, id(1))
        .xor_address(attribute::XOR_PEER_ADDRESS, peer)
        .attribute(attribute::DATA, data)
        .finish()
        .unwrap();
    bytes.truncate(len);
    bytes
}

/// The error code of an answer; 0 for success.
pub fn code(answer: &[u8]) -> u16 {
    let message = Message::parse(answer).unwrap();
    match message.class() {
        Class::Success => 0,
        Class::Error => message.error_code().map(|(ErrorCode(code), _)| code).unwrap(),
        other => panic!("an answer of class {other:?}"),
    }
}

/// What a challenge tells.
pub fn challenged(answer: &[u8]) -> (String, Vec<u8>) {
    let message = Message::parse(answer).unwrap();
    let realm = message.get(AttributeType::REALM).unwrap();
    (String::from_utf8(realm.to_vec()).unwrap(), message.get(AttributeType::NONCE).unwrap().to_vec())
}
