//! Writes a message into the caller's buffer. Decides layout, padding and the length field; never which attributes a
//! message needs, and never allocates.

use std::net::SocketAddr;

use super::integrity::{self, HMAC_LEN, Key, SHA256_LEN, Sha256Key};
use super::message::{Class, ErrorCode, Method, join_type};
use super::{AttributeType, HEADER_LEN, MAGIC_COOKIE, TransactionId, address};

/// The message does not fit into the buffer, or not into the 16 bits of its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stun builder: the message does not fit into the buffer")]
pub struct BufferTooSmall;

/// Builds one message, attribute after attribute; [`Builder::finish`] tells whether all of it found room.
#[derive(Debug)]
#[must_use = "the message is whole only after finish()"]
pub struct Builder<'a> {
    buffer: &'a mut [u8],
    len: usize,
    id: TransactionId,
    overflow: bool,
}

impl<'a> Builder<'a> {
    /// Starts with the header.
    pub fn new(buffer: &'a mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let Some(header) = buffer.first_chunk_mut::<HEADER_LEN>() else {
            return Builder { buffer, len: 0, id, overflow: true };
        };
        header[..2].copy_from_slice(&join_type(class, method).to_be_bytes());
        header[2..4].copy_from_slice(&[0, 0]);
        header[4..8].copy_from_slice(&MAGIC_COOKIE);
        header[8..].copy_from_slice(&id);
        Builder { buffer, len: HEADER_LEN, id, overflow: false }
    }

    /// Any attribute.
    pub fn attribute(self, typ: AttributeType, value: &[u8]) -> Self {
        self.push(typ, value.len(), |room| room.copy_from_slice(value))
    }

    /// USERNAME of an ICE check: the receiver's ufrag, then the sender's.
    pub fn ufrags(self, receiver: &str, sender: &str) -> Self {
        let len = receiver.len() + 1 + sender.len();
        self.push(AttributeType::USERNAME, len, |room| {
            let (first, rest) = room.split_at_mut(receiver.len());
            first.copy_from_slice(receiver.as_bytes());
            rest[0] = b':';
            rest[1..].copy_from_slice(sender.as_bytes());
        })
    }

    /// PRIORITY.
    pub fn priority(self, priority: u32) -> Self {
        self.attribute(AttributeType::PRIORITY, &priority.to_be_bytes())
    }

    /// ICE-CONTROLLING with this tie-breaker.
    pub fn ice_controlling(self, tie_breaker: u64) -> Self {
        self.attribute(AttributeType::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    /// ICE-CONTROLLED with this tie-breaker.
    pub fn ice_controlled(self, tie_breaker: u64) -> Self {
        self.attribute(AttributeType::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(self) -> Self {
        self.attribute(AttributeType::USE_CANDIDATE, &[])
    }

    /// XOR-MAPPED-ADDRESS. An IPv4-mapped IPv6 address is told as IPv4.
    pub fn xor_mapped_address(self, addr: SocketAddr) -> Self {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr)
    }

    /// Any attribute that carries an address in the same way.
    pub fn xor_address(self, typ: AttributeType, addr: SocketAddr) -> Self {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode(addr, &self.id, &mut value);
        self.attribute(typ, &value[..len])
    }

    /// ERROR-CODE with the customary phrase.
    pub fn error_code(self, code: ErrorCode) -> Self {
        let reason = code.reason().as_bytes();
        self.push(AttributeType::ERROR_CODE, 4 + reason.len(), |room| {
            // Both fit their byte: a code has three digits.
            room[..4].copy_from_slice(&[0, 0, (code.0 / 100) as u8, (code.0 % 100) as u8]);
            room[4..].copy_from_slice(reason);
        })
    }

    /// ERROR-CODE without a phrase, where every byte counts.
    pub fn bare_error_code(self, ErrorCode(code): ErrorCode) -> Self {
        self.attribute(AttributeType::ERROR_CODE, &[0, 0, (code / 100) as u8, (code % 100) as u8])
    }

    /// UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(self, types: impl Iterator<Item = AttributeType> + Clone) -> Self {
        let len = 2 * types.clone().count();
        self.push(AttributeType::UNKNOWN_ATTRIBUTES, len, |room| {
            for (slot, typ) in room.chunks_exact_mut(2).zip(types) {
                slot.copy_from_slice(&typ.0.to_be_bytes());
            }
        })
    }

    /// MESSAGE-INTEGRITY over all that was written. Only [`Builder::fingerprint`] may follow.
    pub fn integrity(mut self, key: &Key) -> Self {
        let at = self.len;
        self = self.push(AttributeType::MESSAGE_INTEGRITY, HMAC_LEN, |_| {});
        if !self.overflow {
            let hmac = key.sign(self.buffer, at);
            self.buffer[at + 4..self.len].copy_from_slice(&hmac);
        }
        self
    }

    /// MESSAGE-INTEGRITY-SHA256 over all that was written, in full length. Only [`Builder::fingerprint`] may follow.
    pub fn integrity_sha256(mut self, key: &Sha256Key) -> Self {
        let at = self.len;
        self = self.push(AttributeType::MESSAGE_INTEGRITY_SHA256, SHA256_LEN, |_| {});
        if !self.overflow {
            let hmac = key.sign(self.buffer, at, SHA256_LEN);
            self.buffer[at + 4..self.len].copy_from_slice(&hmac);
        }
        self
    }

    /// FINGERPRINT over all that was written. Nothing may follow.
    pub fn fingerprint(mut self) -> Self {
        let at = self.len;
        self = self.push(AttributeType::FINGERPRINT, 4, |_| {});
        if !self.overflow {
            let crc = integrity::fingerprint(&self.buffer[..at]);
            self.buffer[at + 4..self.len].copy_from_slice(&crc);
        }
        self
    }

    /// The length of the message, which starts where the buffer starts.
    pub fn finish(self) -> Result<usize, BufferTooSmall> {
        if self.overflow { Err(BufferTooSmall) } else { Ok(self.len) }
    }

    /// Appends an attribute of `len` bytes that `fill` writes, and keeps the length field right.
    fn push(mut self, typ: AttributeType, len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let end = self.len + 4 + len.next_multiple_of(4);
        if self.overflow || end > self.buffer.len() {
            return self.overflowed();
        }
        let (Ok(value_len), Ok(message_len)) = (u16::try_from(len), u16::try_from(end - HEADER_LEN)) else {
            return self.overflowed();
        };
        let room = &mut self.buffer[self.len..end];
        room[..2].copy_from_slice(&typ.0.to_be_bytes());
        room[2..4].copy_from_slice(&value_len.to_be_bytes());
        fill(&mut room[4..4 + len]);
        room[4 + len..].fill(0);
        self.buffer[2..4].copy_from_slice(&message_len.to_be_bytes());
        self.len = end;
        self
    }

    fn overflowed(mut self) -> Self {
        self.overflow = true;
        self
    }
}
