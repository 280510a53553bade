//! `xrtc probe`: a synthetic WebRTC client that says what works, what does not, why, and what to do.
//!
//! The walk: name → TCP → TLS ([`reach`]) → API ([`janus`], [`whip`]) → offer and answer → for each transport: candidates,
//! checks on each ([`checks`]), a call over the best ([`call`]) → [`verdict`]. It decides in which order things are tried and
//! when a run is over; it trusts nothing that a server sends, and every step has its time.

mod call;
mod candidates;
mod cause;
mod checks;
mod facts;
mod fuzzing;
mod http;
mod janus;
mod journal;
mod media;
mod options;
mod path;
mod reach;
mod run;
mod show;
mod signalling;
mod trust;
mod verdict;
#[cfg(test)]
mod verdict_tests;
mod whip;

pub use cause::{Cause, Fault};
pub use facts::{
    Attempt, AttemptState, Call, Data, Media, Outcome, PathFacts, PathState, Report, Scope, Server, Step,
    Transport, VERSION,
};
#[doc(hidden)]
pub use fuzzing::fuzz;
pub use options::{Options, Protocol, Target, Wanted};
pub use show::main;
