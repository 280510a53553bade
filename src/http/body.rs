//! Bodies on their way: the one type that carries them, reading one whole up to a limit, and telling when one last moved.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout};

/// What a stream of bytes may fail with.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Any body: streamed, whole or empty.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What is read and dropped of a body that nobody wants.
const DISCARD_LIMIT: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A request's body. What is left of it when it is dropped is still read, within limits: a client that sends into a closed
/// connection sees a reset instead of its answer.
pub(super) struct Received(Option<Incoming>);

impl Received {
    pub(super) fn new(body: Incoming) -> Self {
        Received(Some(body).filter(|body| !body.is_end_stream()))
    }
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(DISCARD_TIMEOUT, discard(body)));
        }
    }
}

/// A response's body that is passed on as it arrives.
pub(super) fn streamed(body: Incoming) -> Body {
    body.map_err(BodyError::from).boxed_unsync()
}

/// A body that is all there.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Why a body could not be read whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// More than the limit.
    TooLarge,
    /// The sender broke off or broke the framing.
    Cut,
}

/// Reads `body` up to `limit` bytes.
pub(super) async fn read_whole<B>(body: &mut B, limit: usize) -> Result<Bytes, ReadError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge);
    }
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadError::Cut)?;
        let Some(data) = frame.data_ref() else { continue };
        if gathered.len() + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        gathered.extend_from_slice(data);
    }
    Ok(gathered.freeze())
}

async fn discard(mut body: Incoming) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > DISCARD_LIMIT {
            return;
        }
    }
}

/// When a request last moved towards its upstream.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    last_millis: AtomicU64,
    is_cut: AtomicBool,
}

impl Progress {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Progress {
            start: Instant::now(),
            last_millis: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
        })
    }

    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }

    /// Whether the body broke off on the client's side.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }
}

/// A body that touches its [`Progress`] whenever a part of it is taken.
pub(super) struct Watched {
    body: Body,
    progress: Arc<Progress>,
}

impl Watched {
    pub(super) fn new(body: Body, progress: Arc<Progress>) -> Self {
        Watched { body, progress }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.touch();
        if matches!(frame, Some(Err(_))) {
            self.progress.is_cut.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
