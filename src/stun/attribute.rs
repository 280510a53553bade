//! Attributes: their numbers, and walking over them. Decides where one ends and the next begins; never what a value
//! means.

use std::fmt;

/// Type number of an attribute (RFC 8489 §18.3, RFC 8445 §20.1.1, RFC 8656 §18).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// MAPPED-ADDRESS.
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// USERNAME.
    pub const USERNAME: Self = Self(0x0006);
    /// MESSAGE-INTEGRITY, HMAC-SHA1.
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// ERROR-CODE.
    pub const ERROR_CODE: Self = Self(0x0009);
    /// UNKNOWN-ATTRIBUTES.
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000A);
    /// REALM.
    pub const REALM: Self = Self(0x0014);
    /// NONCE.
    pub const NONCE: Self = Self(0x0015);
    /// MESSAGE-INTEGRITY-SHA256.
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001C);
    /// XOR-MAPPED-ADDRESS.
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// PRIORITY.
    pub const PRIORITY: Self = Self(0x0024);
    /// USE-CANDIDATE.
    pub const USE_CANDIDATE: Self = Self(0x0025);
    /// SOFTWARE.
    pub const SOFTWARE: Self = Self(0x8022);
    /// FINGERPRINT.
    pub const FINGERPRINT: Self = Self(0x8028);
    /// ICE-CONTROLLED.
    pub const ICE_CONTROLLED: Self = Self(0x8029);
    /// ICE-CONTROLLING.
    pub const ICE_CONTROLLING: Self = Self(0x802A);

    /// What a receiver of ICE checks understands, for [`super::Message::unknown_required`].
    pub const KNOWN_TO_ICE: &'static [Self] = &[
        Self::MAPPED_ADDRESS,
        Self::USERNAME,
        Self::MESSAGE_INTEGRITY,
        Self::ERROR_CODE,
        Self::UNKNOWN_ATTRIBUTES,
        Self::REALM,
        Self::NONCE,
        Self::MESSAGE_INTEGRITY_SHA256,
        Self::XOR_MAPPED_ADDRESS,
        Self::PRIORITY,
        Self::USE_CANDIDATE,
    ];

    /// Whether a receiver that does not know it must refuse the message (RFC 8489 §14).
    pub fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttributeType({self})")
    }
}

/// One attribute, without its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub typ: AttributeType,
    /// Its value.
    pub value: &'a [u8],
}

/// Walks over the attributes of a message; see [`super::Message::attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Attributes { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'a>> {
        let (attribute, size) = first(self.rest)?;
        self.rest = &self.rest[size..];
        Some(attribute)
    }
}

/// The attribute at the start of `bytes`, and the bytes it takes with header and padding. `None` when it is cut off.
#[inline]
pub(super) fn first(bytes: &[u8]) -> Option<(Attribute<'_>, usize)> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let padded = len.next_multiple_of(4);
    let value = rest.get(..padded)?;
    let typ = AttributeType(u16::from_be_bytes([header[0], header[1]]));
    Some((Attribute { typ, value: &value[..len] }, 4 + padded))
}
