//! Tests of the packet core in virtual time; `world` is the network around it.

mod fair;
mod hostile;
mod restart;
mod through;
mod walk;
mod world;
