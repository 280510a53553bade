//! WebRTC endpoints of our own, around the sans-IO `str0m`: one decides what both kinds have in common, each kind has a file.
//!
//! Nothing here owns a socket or a clock: who uses an endpoint carries its packets and tells it the time.

pub mod offer;

use std::sync::Arc;

use str0m::RtcConfig;
use str0m::crypto::from_feature_flags;

/// What every endpoint starts from: the crypto that this program links, named, because a process may have linked more.
pub fn config() -> RtcConfig {
    RtcConfig::new().set_crypto_provider(Arc::new(from_feature_flags()))
}
