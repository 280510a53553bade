//! Numbers of RFC 8656, and ChannelData. Decides bytes; never what they mean for an allocation.

use std::net::SocketAddr;

use crate::stun::{AttributeType, Builder, Class, ErrorCode, MAGIC_COOKIE, Method, TransactionId};

/// Methods (RFC 8656 §17).
pub mod method {
    use super::Method;

    /// Allocate.
    pub const ALLOCATE: Method = Method(0x003);
    /// Refresh.
    pub const REFRESH: Method = Method(0x004);
    /// Send, an indication.
    pub const SEND: Method = Method(0x006);
    /// Data, an indication.
    pub const DATA: Method = Method(0x007);
    /// CreatePermission.
    pub const CREATE_PERMISSION: Method = Method(0x008);
    /// ChannelBind.
    pub const CHANNEL_BIND: Method = Method(0x009);

    /// Those that clients ask for, besides Binding. What asks for another one is thrown away (RFC 8489 §6.3).
    pub const OF_REQUESTS: [Method; 4] = [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND];
}

/// Attributes (RFC 8656 §18, RFC 8489 §18.3).
pub mod attribute {
    use super::AttributeType;

    /// CHANNEL-NUMBER.
    pub const CHANNEL_NUMBER: AttributeType = AttributeType(0x000C);
    /// LIFETIME.
    pub const LIFETIME: AttributeType = AttributeType(0x000D);
    /// XOR-PEER-ADDRESS.
    pub const XOR_PEER_ADDRESS: AttributeType = AttributeType(0x0012);
    /// DATA.
    pub const DATA: AttributeType = AttributeType(0x0013);
    /// XOR-RELAYED-ADDRESS.
    pub const XOR_RELAYED_ADDRESS: AttributeType = AttributeType(0x0016);
    /// REQUESTED-ADDRESS-FAMILY.
    pub const REQUESTED_ADDRESS_FAMILY: AttributeType = AttributeType(0x0017);
    /// EVEN-PORT.
    pub const EVEN_PORT: AttributeType = AttributeType(0x0018);
    /// REQUESTED-TRANSPORT.
    pub const REQUESTED_TRANSPORT: AttributeType = AttributeType(0x0019);
    /// DONT-FRAGMENT.
    pub const DONT_FRAGMENT: AttributeType = AttributeType(0x001A);
    /// PASSWORD-ALGORITHM.
    pub const PASSWORD_ALGORITHM: AttributeType = AttributeType(0x001D);
    /// RESERVATION-TOKEN.
    pub const RESERVATION_TOKEN: AttributeType = AttributeType(0x0022);
    /// ADDITIONAL-ADDRESS-FAMILY.
    pub const ADDITIONAL_ADDRESS_FAMILY: AttributeType = AttributeType(0x8000);
    /// ADDRESS-ERROR-CODE.
    pub const ADDRESS_ERROR_CODE: AttributeType = AttributeType(0x8001);
    /// PASSWORD-ALGORITHMS.
    pub const PASSWORD_ALGORITHMS: AttributeType = AttributeType(0x8002);

    /// What this server understands. DONT-FRAGMENT is not among them: the relay sockets set no DF bit, and RFC 8656 §7.2
    /// wants 420 then, so that a client does not measure paths by it.
    pub const KNOWN: &[AttributeType] = &[
        AttributeType::MAPPED_ADDRESS,
        AttributeType::USERNAME,
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::ERROR_CODE,
        AttributeType::UNKNOWN_ATTRIBUTES,
        AttributeType::REALM,
        AttributeType::NONCE,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::XOR_MAPPED_ADDRESS,
        AttributeType::PRIORITY,
        AttributeType::USE_CANDIDATE,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        XOR_RELAYED_ADDRESS,
        REQUESTED_ADDRESS_FAMILY,
        EVEN_PORT,
        REQUESTED_TRANSPORT,
        PASSWORD_ALGORITHM,
        RESERVATION_TOKEN,
    ];
}

/// Error codes (RFC 8656 §19, RFC 8489 §14.8).
pub mod error {
    use super::ErrorCode;

    /// The peer, or the client, may not.
    pub const FORBIDDEN: ErrorCode = ErrorCode(403);
    /// There is no allocation, or there is one already.
    pub const ALLOCATION_MISMATCH: ErrorCode = ErrorCode(437);
    /// The nonce is too old.
    pub const STALE_NONCE: ErrorCode = ErrorCode(438);
    /// No relay of that family.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: ErrorCode = ErrorCode(440);
    /// The allocation belongs to another user.
    pub const WRONG_CREDENTIALS: ErrorCode = ErrorCode(441);
    /// Only UDP is relayed.
    pub const UNSUPPORTED_TRANSPORT: ErrorCode = ErrorCode(442);
    /// The allocation has no relay of the peer's family.
    pub const PEER_FAMILY_MISMATCH: ErrorCode = ErrorCode(443);
    /// The user, or the source, has all that it may have.
    pub const QUOTA_REACHED: ErrorCode = ErrorCode(486);
    /// The server has nothing left.
    pub const INSUFFICIENT_CAPACITY: ErrorCode = ErrorCode(508);
}

/// Protocol number of UDP in REQUESTED-TRANSPORT.
pub const UDP: u8 = 17;
/// Bytes before the payload of ChannelData (RFC 8656 §12.4).
pub const CHANNEL_HEADER: usize = 4;
/// Bytes of a Data indication before its payload, at most: header, an IPv6 peer, the header of DATA.
pub const DATA_HEAD_MAX: usize = 20 + 24 + 4;

/// Whether a number may be a channel's. RFC 8656 §12 has clients stay below 0x5000, where nothing else on the same port
/// begins; those of RFC 5766, coturn's among them, use all of this, and nothing else comes to this port.
pub fn is_channel(number: u16) -> bool {
    (0x4000..=0x7FFF).contains(&number)
}

/// Whether a packet that starts with this byte is ChannelData.
#[inline]
pub fn starts_channel_data(first: u8) -> bool {
    (0x40..0x80).contains(&first)
}

/// Channel number and length of the payload; `None` where the bytes are no whole ChannelData.
#[inline]
pub fn channel_data(bytes: &[u8]) -> Option<(u16, usize)> {
    let header = bytes.first_chunk::<CHANNEL_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // UDP may carry padding behind it (RFC 8656 §12.5).
    (CHANNEL_HEADER + len <= bytes.len()).then_some((u16::from_be_bytes([header[0], header[1]]), len))
}

/// The header of ChannelData with `len` bytes behind it.
#[inline]
pub fn channel_header(number: u16, len: usize) -> [u8; CHANNEL_HEADER] {
    let ([a, b], [c, d]) = (number.to_be_bytes(), (len as u16).to_be_bytes());
    [a, b, c, d]
}

/// Writes all of a Data indication that stands before its `len` bytes of payload; returns its length. The payload is to be
/// padded to a multiple of four.
pub fn data_head(head: &mut [u8], id: TransactionId, peer: SocketAddr, len: usize) -> Option<usize> {
    let value = u16::try_from(len).ok()?;
    let builder = Builder::new(head, Class::Indication, method::DATA, id);
    let at = builder.xor_address(attribute::XOR_PEER_ADDRESS, peer).finish().ok()?;
    let room = head.get_mut(at..at + 4)?;
    room[..2].copy_from_slice(&attribute::DATA.0.to_be_bytes());
    room[2..].copy_from_slice(&value.to_be_bytes());
    let total = u16::try_from(at + 4 + len.next_multiple_of(4) - crate::stun::HEADER_LEN).ok()?;
    head[2..4].copy_from_slice(&total.to_be_bytes());
    Some(at + 4)
}

/// The next message of a stream (RFC 8656 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// Not all of it is there.
    NeedMore,
    /// A message of `len` bytes, and where the next one starts.
    Message {
        /// Its length.
        len: usize,
        /// With its padding.
        with_padding: usize,
    },
    /// Neither STUN nor ChannelData: nobody can tell where the next message starts.
    Broken,
}

/// Finds the end of the message that the stream's `bytes` start with.
pub fn framed(bytes: &[u8]) -> Framed {
    let Some(header) = bytes.first_chunk::<4>() else { return Framed::NeedMore };
    let said = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let (len, with_padding) = match header[0] {
        0..4 if said.is_multiple_of(4) => (20 + said, 20 + said),
        first if starts_channel_data(first) => {
            (CHANNEL_HEADER + said, (CHANNEL_HEADER + said).next_multiple_of(4))
        }
        _ => return Framed::Broken,
    };
    if header[0] < 4 && bytes.get(4..8).is_some_and(|cookie| cookie != MAGIC_COOKIE) {
        return Framed::Broken;
    }
    if bytes.len() < with_padding { Framed::NeedMore } else { Framed::Message { len, with_padding } }
}
