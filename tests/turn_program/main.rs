//! STUN and TURN of the built program, asked by real sockets: credentials however they were come by, the RFC's answers to wrong
//! ones, limits, reloads under live allocations, what strangers are told and how large that is, and what operators see.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../turn_support/mod.rs"]
mod turn_support;

mod admin;
mod answers;
mod credentials;
mod limits;
mod reload;
mod streams;
mod stun_ports;
mod world;
