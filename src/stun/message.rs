//! A received message, read in place. Decides what is well formed and which attributes count; never whether the
//! sender is who it says: ask [`Message::verify`] before anything of the content is believed.

use std::net::SocketAddr;

use super::attribute::{self, AttributeType, Attributes};
use super::{HEADER_LEN, MAGIC_COOKIE, TransactionId, address};

/// Most attributes of one message. Browsers send up to 9; the limit bounds what a datagram that nobody vouched for
/// can cost (65 535 bytes have room for 16 000 empty ones).
pub const MAX_ATTRIBUTES: usize = 64;

/// What kind of message it is (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// Says yes.
    Success,
    /// Says no.
    Error,
}

/// What a message is about, 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    /// Binding: the only method of ICE.
    pub const BINDING: Self = Self(0x001);
}

/// Number in ERROR-CODE, 300–699 (RFC 8489 §14.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// The request is malformed.
    pub const BAD_REQUEST: Self = Self(400);
    /// The request's integrity does not hold.
    pub const UNAUTHENTICATED: Self = Self(401);
    /// UNKNOWN-ATTRIBUTES tells which.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    /// Both sides claim the same ICE role (RFC 8445 §7.3.1.1).
    pub const ROLE_CONFLICT: Self = Self(487);

    /// The customary phrase.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHENTICATED => "Unauthenticated",
            Self::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            Self::ROLE_CONFLICT => "Role Conflict",
            // Those of TURN (RFC 8656 §19).
            Self(403) => "Forbidden",
            Self(437) => "Allocation Mismatch",
            Self(438) => "Stale Nonce",
            Self(440) => "Address Family not Supported",
            Self(441) => "Wrong Credentials",
            Self(442) => "Unsupported Transport Protocol",
            Self(443) => "Peer Address Family Mismatch",
            Self(486) => "Allocation Quota Reached",
            Self(508) => "Insufficient Capacity",
            _ => "Error",
        }
    }
}

/// A well-formed message that lies in somebody else's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    class: Class,
    method: Method,
    /// Where the attributes that count end: at the first integrity or fingerprint.
    content_end: usize,
    /// Where MESSAGE-INTEGRITY starts.
    pub(super) integrity_at: Option<usize>,
    /// Where MESSAGE-INTEGRITY-SHA256 starts, and how long its value is.
    pub(super) sha256_at: Option<(usize, usize)>,
    /// Where FINGERPRINT starts.
    pub(super) fingerprint_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram (or one frame of a stream) as one message.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (class, method) = parse_header(datagram)?;
        let layout = Layout::of(datagram)?;
        Ok(Message {
            bytes: datagram,
            class,
            method,
            content_end: layout.content_end.unwrap_or(datagram.len()),
            integrity_at: layout.integrity_at,
            sha256_at: layout.sha256_at,
            fingerprint_at: layout.fingerprint_at,
        })
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Binding, or something that ICE does not know.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether this is a Binding message of `class`.
    pub fn is_binding(&self, class: Class) -> bool {
        self.method == Method::BINDING && self.class == class
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = TransactionId::default();
        id.copy_from_slice(&self.bytes[8..HEADER_LEN]);
        id
    }

    /// The bytes it was read from.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All attributes in front of integrity and fingerprint. What stands behind MESSAGE-INTEGRITY is not protected by
    /// it and must be ignored (RFC 8489 §14.5).
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(&self.bytes[HEADER_LEN..self.content_end])
    }

    /// Value of the first attribute of this type; later ones are duplicates without meaning (RFC 8489 §14).
    pub fn get(&self, typ: AttributeType) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.typ == typ).map(|attribute| attribute.value)
    }

    /// USERNAME as it came.
    pub fn username_bytes(&self) -> Option<&'a [u8]> {
        self.get(AttributeType::USERNAME)
    }

    /// USERNAME, when it is UTF-8.
    pub fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.username_bytes()?).ok()
    }

    /// USERNAME of an ICE check: the receiver's ufrag, then the sender's (RFC 8445 §7.2.2).
    pub fn ufrags(&self) -> Option<(&'a str, &'a str)> {
        self.username()?.split_once(':')
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(AttributeType::PRIORITY)?.try_into().ok()?))
    }

    /// Tie-breaker of a sender that takes the controlling role.
    pub fn ice_controlling(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(AttributeType::ICE_CONTROLLING)?.try_into().ok()?))
    }

    /// Tie-breaker of a sender that takes the controlled role.
    pub fn ice_controlled(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(AttributeType::ICE_CONTROLLED)?.try_into().ok()?))
    }

    /// Whether the sender nominates this pair.
    pub fn use_candidate(&self) -> bool {
        self.get(AttributeType::USE_CANDIDATE).is_some()
    }

    /// XOR-MAPPED-ADDRESS, IPv4 or IPv6.
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// Any attribute that carries an address in the same way.
    pub fn xor_address(&self, typ: AttributeType) -> Option<SocketAddr> {
        address::decode(self.get(typ)?, &self.transaction_id())
    }

    /// All attributes of this type, as addresses; `None` for one that is none.
    pub fn xor_addresses(&self, typ: AttributeType) -> impl Iterator<Item = Option<SocketAddr>> + 'a {
        let id = self.transaction_id();
        let of_type = self.attributes().filter(move |attribute| attribute.typ == typ);
        of_type.map(move |attribute| address::decode(attribute.value, &id))
    }

    /// ERROR-CODE and its phrase; the phrase is empty when it is not UTF-8.
    pub fn error_code(&self) -> Option<(ErrorCode, &'a str)> {
        let ([_, _, hundreds, rest], phrase) =
            self.get(AttributeType::ERROR_CODE)?.split_first_chunk::<4>()?;
        let (hundreds, rest) = (hundreds & 0b111, *rest);
        if !(3..=6).contains(&hundreds) || rest > 99 {
            return None;
        }
        let code = ErrorCode(u16::from(hundreds) * 100 + u16::from(rest));
        Some((code, std::str::from_utf8(phrase).unwrap_or_default()))
    }

    /// Whether there is a MESSAGE-INTEGRITY-SHA256, good or bad.
    pub fn has_sha256_integrity(&self) -> bool {
        self.sha256_at.is_some()
    }

    /// Whether there is a FINGERPRINT, good or bad.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint_at.is_some()
    }

    /// Whether there is a MESSAGE-INTEGRITY, good or bad.
    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Attributes that must be understood and are not among `known`: a request with any is answered with 420
    /// (RFC 8489 §6.3.1).
    pub fn unknown_required(
        &self,
        known: &'a [AttributeType],
    ) -> impl Iterator<Item = AttributeType> + Clone + 'a {
        self.attributes()
            .map(|attribute| attribute.typ)
            .filter(|typ| typ.is_comprehension_required() && !known.contains(typ))
    }
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not even a header.
    #[error("stun header: {len} bytes, expected at least 20")]
    TooShort {
        /// Bytes there are.
        len: usize,
    },
    /// The first two bits are not zero.
    #[error("stun header: first byte {first:#04x}, expected two zero bits")]
    NotStun {
        /// The first byte.
        first: u8,
    },
    /// No magic cookie: something else, or STUN of 2003 (RFC 3489).
    #[error("stun header: no magic cookie at byte 4")]
    Cookie,
    /// The length field says something else than the datagram.
    #[error("stun header: length field says {said} bytes of attributes, the datagram has {found}")]
    Length {
        /// The length field.
        said: usize,
        /// Bytes behind the header.
        found: usize,
    },
    /// The length is not a multiple of four.
    #[error("stun header: length {said}, expected a multiple of 4")]
    Unaligned {
        /// The length field.
        said: usize,
    },
    /// An attribute runs over the end.
    #[error("stun attribute at byte {at}: runs over the end of the message")]
    AttributeCut {
        /// Where it starts.
        at: usize,
    },
    /// More than [`MAX_ATTRIBUTES`].
    #[error("stun message: more than 64 attributes")]
    TooManyAttributes,
    /// An integrity or fingerprint of the wrong size.
    #[error("stun attribute {typ} at byte {at}: {len} bytes, expected {expected}")]
    AttributeLength {
        /// Which.
        typ: AttributeType,
        /// Where it starts.
        at: usize,
        /// Its length.
        len: usize,
        /// The only right length.
        expected: usize,
    },
    /// FINGERPRINT is not the last attribute (RFC 8489 §14.7).
    #[error("stun attribute at byte {at}: stands behind fingerprint, expected nothing there")]
    AfterFingerprint {
        /// Where it starts.
        at: usize,
    },
}

fn parse_header(datagram: &[u8]) -> Result<(Class, Method), ParseError> {
    let Some((header, attributes)) = datagram.split_first_chunk::<HEADER_LEN>() else {
        return Err(ParseError::TooShort { len: datagram.len() });
    };
    if header[0] & 0b1100_0000 != 0 {
        return Err(ParseError::NotStun { first: header[0] });
    }
    if header[4..8] != MAGIC_COOKIE {
        return Err(ParseError::Cookie);
    }
    let said = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if said % 4 != 0 {
        return Err(ParseError::Unaligned { said });
    }
    if said != attributes.len() {
        return Err(ParseError::Length { said, found: attributes.len() });
    }
    Ok(split_type(u16::from_be_bytes([header[0], header[1]])))
}

/// Where the attributes that close a message stand.
#[derive(Default)]
struct Layout {
    content_end: Option<usize>,
    integrity_at: Option<usize>,
    sha256_at: Option<(usize, usize)>,
    fingerprint_at: Option<usize>,
}

impl Layout {
    fn of(datagram: &[u8]) -> Result<Layout, ParseError> {
        let mut layout = Layout::default();
        let mut at = HEADER_LEN;
        for _ in 0..MAX_ATTRIBUTES {
            if at == datagram.len() {
                return Ok(layout);
            }
            if layout.fingerprint_at.is_some() {
                return Err(ParseError::AfterFingerprint { at });
            }
            let Some((attribute, size)) = attribute::first(&datagram[at..]) else {
                return Err(ParseError::AttributeCut { at });
            };
            layout.note(attribute.typ, attribute.value.len(), at)?;
            at += size;
        }
        if at == datagram.len() { Ok(layout) } else { Err(ParseError::TooManyAttributes) }
    }

    fn note(&mut self, typ: AttributeType, len: usize, at: usize) -> Result<(), ParseError> {
        match typ {
            AttributeType::MESSAGE_INTEGRITY => {
                expect_length(typ, at, len, 20)?;
                // One behind MESSAGE-INTEGRITY-SHA256 is to be ignored like anything else there (RFC 8489 §14.6).
                if self.content_end.is_none() {
                    self.integrity_at = Some(at);
                }
            }
            AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                // Any other length is no integrity, and what follows is not protected all the same (RFC 8489 §14.6). One
                // behind MESSAGE-INTEGRITY is the only thing that may stand there.
                if (16..=32).contains(&len) && len.is_multiple_of(4) {
                    self.sha256_at.get_or_insert((at, len));
                }
            }
            AttributeType::FINGERPRINT => {
                expect_length(typ, at, len, 4)?;
                self.fingerprint_at = Some(at);
            }
            _ => return Ok(()),
        }
        self.content_end.get_or_insert(at);
        Ok(())
    }
}

fn expect_length(typ: AttributeType, at: usize, len: usize, expected: usize) -> Result<(), ParseError> {
    if len == expected { Ok(()) } else { Err(ParseError::AttributeLength { typ, at, len, expected }) }
}

/// The class bits stand between the method bits (RFC 8489 §5, figure 3).
fn split_type(typ: u16) -> (Class, Method) {
    let class = match (typ & 0x0100 != 0, typ & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    let method = (typ & 0x000F) | ((typ & 0x00E0) >> 1) | ((typ & 0x3E00) >> 2);
    (class, Method(method))
}

/// The opposite of [`split_type`].
pub(super) fn join_type(class: Class, Method(method): Method) -> u16 {
    let class = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    class | (method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2)
}
