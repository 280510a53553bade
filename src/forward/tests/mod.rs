//! Tests of the packet core in virtual time; `world` is the network around it.

mod budgets;
mod fair;
mod hostile;
mod plain;
mod restart;
mod through;
mod walk;
mod world;
