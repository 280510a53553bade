//! \[pure\] How much a stranger may cost: budgets that fill up over time, one per source address, in fixed memory.
//!
//! Decides whether one more check, request or connection of a source is within its budget. Never decides what happens
//! to what is not, and never reads a clock or draws randomness: `now` and the seed are arguments.
//!
//! A crate does not do here what is needed: `governor` keeps its sources in a map that grows with every new address until
//! somebody sweeps it, allocates for each and takes a lock, and all three belong to whoever forges addresses.

mod held;
mod rate;
mod source;
mod sources;

pub use held::Held;
pub use rate::{Meter, OverBudget, Rate, Spent};
pub use source::Source;
pub use sources::Sources;
