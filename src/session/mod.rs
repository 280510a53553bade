//! \[pure\] Sessions: what a PeerConnection through the edge is made of.

pub mod registration;
