//! Sessions through a TURN server: an allocation per client and a channel to its backend (RFC 8656), with long-term credentials.

use std::net::SocketAddr;
use std::time::Duration;

use md5::{Digest, Md5};

use super::pair::{End, Pair};
use crate::bench::BenchError;
use crate::stun::{AttributeType, Builder, Class, Key, Message, Method};

const ALLOCATE: Method = Method(0x003);
const CHANNEL_BIND: Method = Method(0x009);
const CHANNEL_NUMBER: AttributeType = AttributeType(0x000C);
const XOR_PEER_ADDRESS: AttributeType = AttributeType(0x0012);
const XOR_RELAYED_ADDRESS: AttributeType = AttributeType(0x0016);
const REQUESTED_TRANSPORT: AttributeType = AttributeType(0x0019);
const UDP: [u8; 4] = [17, 0, 0, 0];
/// The first of RFC 8656 §12; each client has one channel only.
const CHANNEL: u16 = 0x4000;
/// For one answer, and how often it is asked for.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: u32 = 6;

/// Who asks.
pub(super) struct User<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

/// Gives each client an allocation and a channel, and connects each backend to its client's relayed address.
pub(super) fn allocate(pairs: &mut [Pair], at: SocketAddr, user: &User<'_>) -> Result<(), BenchError> {
    for (i, pair) in pairs.iter_mut().enumerate() {
        pair.client.connect(at)?;
        let mut asker = Asker { end: &pair.client, user, realm: None, serial: (i as u64) << 8 };
        let relayed = asker.allocate()?;
        asker.bind_channel(pair.backend.addr.into())?;
        pair.backend.connect(relayed)?;
        pair.channel = Some(CHANNEL);
    }
    Ok(())
}

/// One client's requests.
struct Asker<'a> {
    end: &'a End,
    user: &'a User<'a>,
    /// What the server's first refusal told: realm, nonce, and the key of both.
    realm: Option<Realm>,
    serial: u64,
}

struct Realm {
    name: Vec<u8>,
    nonce: Vec<u8>,
    key: Key,
}

/// What a request carries of its own.
enum Content {
    Allocate,
    Channel { peer: SocketAddr },
}

impl Asker<'_> {
    fn allocate(&mut self) -> Result<SocketAddr, BenchError> {
        self.ask(&Content::Allocate, |answer| answer.xor_address(XOR_RELAYED_ADDRESS))
    }

    fn bind_channel(&mut self, peer: SocketAddr) -> Result<(), BenchError> {
        self.ask(&Content::Channel { peer }, |_| Some(()))
    }

    /// Asks until it is granted; a refusal that names a realm and a nonce is the beginning, or an old nonce.
    fn ask<T>(
        &mut self,
        content: &Content,
        granted: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<T, BenchError> {
        let mut buffer = [0; 2048];
        for _ in 0..TRIES {
            let mut request = [0; 1024];
            let len = self.request(&mut request, content);
            // Lost requests are repeated.
            let _ = self.end.socket.send(&request[..len]);
            let Some((bytes, _)) = self.end.wait(&mut buffer, PATIENCE) else { continue };
            let Ok(answer) = Message::parse(bytes) else { continue };
            match answer.class() {
                Class::Success => {
                    return granted(&answer).ok_or_else(|| failed("a success that lacks its address"));
                }
                Class::Error if self.learn(&answer) => {}
                Class::Error => return Err(refused(&answer)),
                _ => {}
            }
        }
        Err(failed("no answer"))
    }

    fn request(&mut self, buffer: &mut [u8], content: &Content) -> usize {
        self.serial += 1;
        let mut id = *b"turn\0\0\0\0\0\0\0\0";
        id[4..].copy_from_slice(&self.serial.to_be_bytes());
        let method = match content {
            Content::Allocate => ALLOCATE,
            Content::Channel { .. } => CHANNEL_BIND,
        };
        let [high, low] = CHANNEL.to_be_bytes();
        let mut request = Builder::new(buffer, Class::Request, method, id);
        request = match content {
            Content::Allocate => request.attribute(REQUESTED_TRANSPORT, &UDP),
            Content::Channel { peer } => {
                request.attribute(CHANNEL_NUMBER, &[high, low, 0, 0]).xor_address(XOR_PEER_ADDRESS, *peer)
            }
        };
        if let Some(realm) = &self.realm {
            request = request
                .attribute(AttributeType::USERNAME, self.user.name.as_bytes())
                .attribute(AttributeType::REALM, &realm.name)
                .attribute(AttributeType::NONCE, &realm.nonce)
                .integrity(&realm.key);
        }
        request.fingerprint().finish().unwrap_or_default()
    }

    /// Takes realm and nonce from a refusal; whether asking again makes sense.
    fn learn(&mut self, refusal: &Message<'_>) -> bool {
        let (Some(name), Some(nonce)) =
            (refusal.get(AttributeType::REALM), refusal.get(AttributeType::NONCE))
        else {
            return false;
        };
        let known = self.realm.as_ref().is_some_and(|realm| realm.nonce == nonce);
        let key = key(self.user, name);
        self.realm = Some(Realm { name: name.to_owned(), nonce: nonce.to_owned(), key });
        !known
    }
}

/// RFC 8489 §9.2.2.
fn key(user: &User<'_>, realm: &[u8]) -> Key {
    let hash = Md5::new().chain_update(user.name).chain_update(":").chain_update(realm).chain_update(":");
    Key::from_bytes(&hash.chain_update(user.password).finalize())
}

fn refused(answer: &Message<'_>) -> BenchError {
    let (code, reason) = answer.error_code().map_or((0, ""), |(code, reason)| (code.0, reason));
    failed(&format!("refused with {code} {reason}"))
}

fn failed(what: &str) -> BenchError {
    BenchError::Peer { who: "the TURN server", what: what.to_owned() }
}
