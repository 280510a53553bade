//! TCP connections to backends, asked for by workers. A backend that is slow to answer delays its own session alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::carry::{FromStream, carry, deliver};
use super::link::Link;
use crate::forward::SocketRequest;
use crate::listener::Inbox;

/// A backend that has not answered by then does not count as reachable.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Dials what `request` wants, tells `worker` how that went, and carries packets until the end.
pub(in crate::listener) async fn dial(request: SocketRequest, worker: u32, inboxes: Arc<[Inbox]>) {
    let Some(inbox) = inboxes.get(worker as usize) else { return };
    let dialled = timeout(DIAL_TIMEOUT, TcpStream::connect(request.toward)).await;
    let opened = dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let opened = opened.and_then(|stream| {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok((stream, local))
    });
    let (stream, local) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            debug!(backend = %request.toward, %error, "cannot connect");
            return deliver(inbox, FromStream::NotDialled(request)).await;
        }
    };
    let link = Link::to_backend(request.toward, worker);
    deliver(inbox, FromStream::Dialled(request, link.clone(), local)).await;
    let ended = carry(stream, BytesMut::new(), &link, &inboxes).await;
    debug!(backend = %request.toward, ?ended, "connection to backend ended");
    deliver(inbox, FromStream::Gone(link)).await;
}
