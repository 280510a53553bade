//! What the program says about itself: logs here, what is counted in [`metrics`].
//!
//! Values, not prose: packets at trace, oddities at debug, state changes at info, wake-someone at warn. Passwords and
//! tokens are never logged, at any level.

pub mod metrics;

use std::io::IsTerminal;
use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;

/// An address as people know it: an IPv4 client of a socket that takes both families has its IPv4 address.
pub fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Environment variable with the log filter.
pub const LOG_FILTER: &str = "XRTC_LOG";

/// The filter in [`LOG_FILTER`] cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("XRTC_LOG: expected a filter such as info or info,xrtc::http=debug, found {found:?}: {reason}")]
pub struct BadFilter {
    found: String,
    reason: String,
}

/// A word that would be taken for the name of a part that may say everything, so that `degub` silenced all others.
fn is_lone_word(directive: &str) -> bool {
    let is_level = || directive.parse::<tracing::level_filters::LevelFilter>().is_ok();
    !directive.is_empty() && directive.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) && !is_level()
}

/// Sends logs to standard error, coloured when that is a terminal. Call once.
pub fn start_logging() -> Result<(), BadFilter> {
    let found = std::env::var(LOG_FILTER).unwrap_or_default();
    let wanted = if found.trim().is_empty() { "info" } else { &found };
    let bad = |reason| BadFilter { found: found.clone(), reason };
    if let Some(word) = wanted.split(',').map(str::trim).find(|part| is_lone_word(part)) {
        return Err(bad(format!("{word:?} is no level; those are off, error, warn, info, debug and trace")));
    }
    // The ICE agent's own words repeat what our counters and events say.
    let filter = EnvFilter::try_new(format!("is=off,{wanted}")).map_err(|error| bad(error.to_string()))?;
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal();
    // A second call (tests in one process) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
    Ok(())
}
