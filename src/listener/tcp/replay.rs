//! A byte stream whose first bytes were read already and are read again by whoever takes it over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::proxy_protocol::{self, Header, NoHeader};
use crate::classify::stream::{Expect, Sniff, sniff};

/// Anything that carries bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Room for the first read; enough for every start, little for a thousand silent connections.
const FIRST_READ: usize = 256;

/// The stream with what was read of it.
#[derive(Debug)]
pub(super) struct Replay<S> {
    stream: S,
    read: BytesMut,
}

impl<S: ByteStream> Replay<S> {
    pub(super) fn new(stream: S) -> Self {
        Replay { stream, read: BytesMut::new() }
    }

    /// Reads until it is clear what the stream carries.
    pub(super) async fn sniff(&mut self, expect: Expect) -> io::Result<Sniff> {
        loop {
            match sniff(&self.read, expect) {
                Sniff::NeedMore => self.read_more().await?,
                sure => return Ok(sure),
            }
        }
    }

    /// Reads the PROXY header and takes it off.
    pub(super) async fn proxy_header(&mut self) -> io::Result<Result<Header, NoHeader>> {
        loop {
            match proxy_protocol::header(&self.read) {
                Ok(None) => self.read_more().await?,
                Ok(Some(header)) => {
                    self.skip(header.len);
                    return Ok(Ok(header));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Takes `len` bytes off what was read.
    pub(super) fn skip(&mut self, len: usize) {
        self.read.advance(len.min(self.read.len()));
    }

    /// The stream, and what was read of it.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.read)
    }

    async fn read_more(&mut self) -> io::Result<()> {
        self.read.reserve(FIRST_READ);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let len = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(len));
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }
}
