//! \[pure\] STUN messages (RFC 8489) as ICE uses them: reads one in place and writes one into the caller's buffer.
//!
//! It decides what is a well-formed message, whether its MESSAGE-INTEGRITY and FINGERPRINT hold, and how a reply
//! looks. It never allocates, never copies a message, never retransmits and knows nothing of sessions: who may send
//! what is the business of [`crate::session`].

mod address;
mod attribute;
mod binding;
mod builder;
mod fuzz;
mod integrity;
mod message;
mod plain;

pub use attribute::{Attribute, AttributeType, Attributes};
pub use binding::{
    BINDING_RESPONSE_MAX, BindingRequest, IceRole, binding_error, binding_request, binding_success,
};
pub use builder::{BufferTooSmall, Builder};
#[doc(hidden)]
pub use fuzz::fuzz;
pub use integrity::{Fingerprint, IntegrityError, Key, Sha256Key};
pub use message::{Class, ErrorCode, MAX_ATTRIBUTES, Message, Method, ParseError};
pub use plain::{allowance, closed, is_plain, plain_answer};

/// Tells a response which request it answers (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// Bytes in front of the first attribute.
pub const HEADER_LEN: usize = 20;

/// The fixed value of bytes 4 to 8.
pub const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Whether a datagram starts like a STUN message: two zero bits, the cookie, a whole header (RFC 8489 §6.3).
/// The cheap question; [`Message::parse`] is the thorough one.
#[inline]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE
}
