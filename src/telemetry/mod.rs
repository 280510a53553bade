//! What the program says about itself: logs here, what is counted in [`metrics`].
//!
//! Values, not prose: packets at trace, oddities at debug, state changes at info, wake-someone at warn. Passwords and
//! tokens are never logged, at any level.

pub mod metrics;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Environment variable with the log filter.
pub const LOG_FILTER: &str = "XRTC_LOG";

/// The filter in [`LOG_FILTER`] cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("XRTC_LOG: expected a filter such as info or info,xrtc::http=debug, found {found:?}: {reason}")]
pub struct BadFilter {
    found: String,
    reason: String,
}

/// Sends logs to standard error, coloured when that is a terminal. Call once.
pub fn start_logging() -> Result<(), BadFilter> {
    let found = std::env::var(LOG_FILTER).unwrap_or_default();
    let wanted = if found.trim().is_empty() { "info" } else { &found };
    // The ICE agent's own words repeat what our counters and events say.
    let filter = EnvFilter::try_new(format!("is=off,{wanted}"))
        .map_err(|error| BadFilter { found: found.clone(), reason: error.to_string() })?;
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
