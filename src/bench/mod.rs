//! `xrtc bench`: what forwarding a packet costs, measured on this machine. A load generator, a forwarder without any session
//! as the floor, and the comparison of several programs under the same load.
//!
//! It measures whole processes from outside, over loopback; it shares no code with the packet side that it measures but
//! the STUN codec.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that talks to the terminal")]

mod bare;
mod compare;
mod datagrams;
mod load;
mod process;

use std::io;

use clap::{Args, Subcommand};

/// The arguments of `xrtc bench`.
#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Forward between two loopback addresses, with no session and no check: the floor of the comparison
    Bare(bare::Bare),
    /// Send clients' and backends' traffic through one program and say what it cost
    Load(load::Load),
    /// Measure several programs under the same load, and draw the comparison
    Compare(compare::Compare),
}

/// Why a measurement did not come about.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The system refused something.
    #[error("{doing}: {error}")]
    System {
        /// What was tried.
        doing: String,
        /// Why it failed. Not called `source`: whoever prints the chain of errors would say it twice.
        error: io::Error,
    },
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// The program under test did not do its part.
    #[error("{who}: {what}")]
    Peer {
        /// Which program.
        who: &'static str,
        /// What it did, or did not do.
        what: String,
    },
    /// Ctrl-C, or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// Runs one subcommand to its end.
pub fn run(bench: &Bench) -> Result<(), BenchError> {
    match &bench.what {
        What::Bare(bare) => bare.run(),
        What::Load(load) => load.run_and_print(),
        What::Compare(compare) => compare.run(),
    }
}

/// Adds to a system error what was tried.
trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BenchError> {
        self.map_err(|error| BenchError::System { doing: what(), error: error.into() })
    }
}
