//! What leads from a worker to backends: opened when the forwarder asks, closed when nobody uses it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use tracing::warn;

use super::socket::Socket;
use super::tcp::Link;
use super::worker::{BACKENDS, Worker};
use crate::forward::{SocketRequest, Via};
use crate::session::registration::CandidateTransport;

/// What leads to backends.
pub(super) enum BackendEnd {
    /// To any of them.
    Udp(Socket),
    /// To one.
    Tcp(Arc<Link>),
}

impl BackendEnd {
    pub(super) fn udp_mut(&mut self) -> Option<&mut Socket> {
        match self {
            BackendEnd::Udp(socket) => Some(socket),
            BackendEnd::Tcp(_) => None,
        }
    }
}

impl Worker {
    pub(super) fn open_sockets(&mut self, now: Instant) -> io::Result<()> {
        while let Some(request) = self.forwarder.poll_socket_request() {
            self.open_backend(now, request)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn open_backend(&mut self, now: Instant, request: SocketRequest) -> io::Result<()> {
        if request.transport == CandidateTransport::TcpPassive {
            self.dial(now, request);
            return Ok(());
        }
        let mut start = [0; 2];
        rand::fill(&mut start);
        let start = usize::from(u16::from_ne_bytes(start));
        let (socket, local) = match Socket::backend(request.toward, &self.media, start) {
            Ok(opened) => opened,
            Err(error) => {
                // The session ends by itself when its backend leg does not come up.
                warn!(backend = %request.toward, %error, "cannot open a backend-facing socket");
                self.forwarder.socket_failed(now, request);
                return Ok(());
            }
        };
        let fd = socket.fd();
        let index = self.forwarder.socket_opened(now, request, local).index;
        self.keep_backend(index, BackendEnd::Udp(socket));
        self.ready.push_back(Via::Backend(index));
        let token = Token(BACKENDS + usize::from(index));
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    pub(super) fn keep_backend(&mut self, index: u16, end: BackendEnd) {
        let index = usize::from(index);
        if self.backends.len() <= index {
            self.backends.resize_with(index + 1, || None);
            self.backend_queues.resize_with(index + 1, Vec::new);
        }
        self.backends[index] = Some(end);
    }

    pub(super) fn backend(&self, index: u16) -> Option<&BackendEnd> {
        self.backends.get(usize::from(index))?.as_ref()
    }

    pub(super) fn close_backend(&mut self, index: u16) -> io::Result<()> {
        match self.backends.get_mut(usize::from(index)).and_then(Option::take) {
            Some(BackendEnd::Udp(socket)) => self.poll.registry().deregister(&mut SourceFd(&socket.fd())),
            Some(BackendEnd::Tcp(link)) => {
                link.close();
                Ok(())
            }
            None => Ok(()),
        }
    }
}
