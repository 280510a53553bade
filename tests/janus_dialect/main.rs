//! The Janus dialect from outside: its rules one by one, and captured exchanges replayed through it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod captures;
mod edge;
mod endings;
mod requirements;
mod rules;
mod simulation;
mod trickle;
