//! The three messages of an ICE agent, whole. Decides which attributes they carry and in which order; never when to
//! send one.

use std::net::SocketAddr;

use super::{AttributeType, BufferTooSmall, Builder, Class, ErrorCode, Key, Method, TransactionId};

/// A buffer of this size holds every response of this module, with [`super::MAX_ATTRIBUTES`] unknown attributes too.
pub const BINDING_RESPONSE_MAX: usize = 256;

/// Role and tie-breaker of the sender (RFC 8445 §7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// What a connectivity check says (RFC 8445 §7.2.2).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    /// Ufrag of who receives it.
    pub receiver_ufrag: &'a str,
    /// Ufrag of who sends it.
    pub sender_ufrag: &'a str,
    /// What the priority of a peer-reflexive candidate would be.
    pub priority: u32,
    /// The sender's role.
    pub role: IceRole,
    /// Whether the sender nominates the pair.
    pub use_candidate: bool,
}

/// A connectivity check, signed with the receiver's password. Returns its length.
pub fn binding_request(
    buffer: &mut [u8],
    id: TransactionId,
    request: &BindingRequest<'_>,
    receiver: &Key,
) -> Result<usize, BufferTooSmall> {
    let mut builder = Builder::new(buffer, Class::Request, Method::BINDING, id)
        .ufrags(request.receiver_ufrag, request.sender_ufrag)
        .priority(request.priority);
    builder = match request.role {
        IceRole::Controlling(tie_breaker) => builder.ice_controlling(tie_breaker),
        IceRole::Controlled(tie_breaker) => builder.ice_controlled(tie_breaker),
    };
    if request.use_candidate {
        builder = builder.use_candidate();
    }
    builder.integrity(receiver).fingerprint().finish()
}

/// Tells the sender of a check where it came from, signed with the key that its check was verified with.
/// Returns the length.
pub fn binding_success(
    buffer: &mut [u8],
    id: TransactionId,
    mapped: SocketAddr,
    key: &Key,
) -> Result<usize, BufferTooSmall> {
    Builder::new(buffer, Class::Success, Method::BINDING, id)
        .xor_mapped_address(mapped)
        .integrity(key)
        .fingerprint()
        .finish()
}

/// Refuses a check that was verified with `key`. `unknown` is told with [`ErrorCode::UNKNOWN_ATTRIBUTE`] and left out
/// when empty. Returns the length.
pub fn binding_error(
    buffer: &mut [u8],
    id: TransactionId,
    code: ErrorCode,
    unknown: impl Iterator<Item = AttributeType> + Clone,
    key: &Key,
) -> Result<usize, BufferTooSmall> {
    let mut builder = Builder::new(buffer, Class::Error, Method::BINDING, id).error_code(code);
    if unknown.clone().next().is_some() {
        builder = builder.unknown_attributes(unknown);
    }
    builder.integrity(key).fingerprint().finish()
}
