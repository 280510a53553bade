//! The one thing a run needs of signalling, whichever protocol it is: an answer to an offer, and what is told meanwhile.

use super::cause::Fault;
use super::janus::{self, Janus};
use super::whip::Whip;

/// Who answers offers.
pub(super) enum Signalling {
    Janus(Box<Janus>),
    Whip(Box<Whip>),
}

impl Signalling {
    /// Whether media and data come back.
    pub(super) fn echoes(&self) -> bool {
        matches!(self, Signalling::Janus(_))
    }

    /// Opens a PeerConnection: the answer to `offer`, which holds all candidates of ours.
    pub(super) async fn open(&mut self, offer: &str) -> Result<String, Fault> {
        match self {
            Signalling::Janus(janus) => {
                janus.attach().await?;
                let answer = janus.offer(offer).await?;
                janus.candidates_end().await;
                Ok(answer)
            }
            Signalling::Whip(whip) => whip.offer(offer).await,
        }
    }

    /// What the server tells next; with WHIP, nothing ever.
    pub(super) async fn event(&mut self) -> janus::Event {
        match self {
            Signalling::Janus(janus) => janus.event().await,
            Signalling::Whip(_) => std::future::pending().await,
        }
    }

    /// Ends the PeerConnection.
    pub(super) async fn close(&mut self) {
        match self {
            Signalling::Janus(janus) => janus.detach().await,
            Signalling::Whip(whip) => whip.end().await,
        }
    }

    /// Ends what may be open, in the midst of things.
    pub(super) async fn leave(&mut self) {
        match self {
            // With its session go its handles.
            Signalling::Janus(janus) => janus.destroy().await,
            Signalling::Whip(whip) => whip.end().await,
        }
    }

    /// Ends everything.
    pub(super) async fn end(&mut self) {
        if let Signalling::Janus(janus) = self {
            janus.destroy().await;
        }
    }
}
