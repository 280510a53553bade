//! One route's dialect at work: brings it time and randomness, and carries its commands to the packet side.
//!
//! The lock is held for the pure call and for handing over its commands, so that commands keep the order of the states they
//! come from. A [`SessionSink`] must therefore never call back into a dialect from `send`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::ServerUrl;
use crate::dialect::{ConnectionId, Context, Dialect, ExchangeId, Head, Message, Settings, Verdict};
use crate::session::registration::{EndReason, SessionId, SessionSink};

/// A dialect and where its commands go.
pub(super) struct Conversation {
    dialect: Mutex<Box<dyn Dialect>>,
    sink: Arc<dyn SessionSink>,
}

impl Conversation {
    pub(super) fn new(dialect: Box<dyn Dialect>, sink: Arc<dyn SessionSink>) -> Self {
        Conversation { dialect: Mutex::new(dialect), sink }
    }

    pub(super) fn reads_request(&self, method: &str, path: &str) -> bool {
        self.lock().reads_request(method, path)
    }

    pub(super) fn reads_response(
        &self,
        method: &str,
        path: &str,
        status: u16,
        content_type: Option<&str>,
    ) -> bool {
        self.lock().reads_response(method, path, status, content_type)
    }

    /// Decides over `message`; when this returns, the packet side knows what the message means for it.
    pub(super) fn handle(&self, message: Message<'_>) -> Verdict {
        self.with(|dialect, cx| dialect.handle(cx, message))
    }

    /// The same for an HTTP message.
    pub(super) fn handle_rest(&self, message: Message<'_>, head: &Head<'_>) -> Verdict {
        self.with(|dialect, cx| dialect.handle_rest(cx, message, head))
    }

    pub(super) fn concluded(&self, exchange: ExchangeId) {
        self.lock().concluded(exchange);
    }

    pub(super) fn names_sessions_by_url(&self) -> bool {
        self.lock().names_sessions_by_url()
    }

    pub(super) fn pinned(&self, path: &str, query: Option<&str>) -> Option<ServerUrl> {
        self.lock().pinned(path, query)
    }

    pub(super) fn renew(&self, settings: Settings) {
        self.lock().renew(settings);
    }

    pub(super) fn closed(&self, connection: ConnectionId) {
        self.with(|dialect, cx| dialect.closed(cx, connection));
    }

    pub(super) fn ended(&self, session: SessionId, reason: EndReason) {
        self.lock().ended(session, reason);
    }

    pub(super) fn sweep(&self) {
        self.with(|dialect, cx| dialect.sweep(cx));
    }

    fn with<T>(&self, call: impl FnOnce(&mut dyn Dialect, &mut Context<'_>) -> T) -> T {
        let mut dialect = self.lock();
        let mut commands = Vec::new();
        let mut cx =
            Context { now: Instant::now(), random: &mut |bytes| rand::fill(bytes), commands: &mut commands };
        let result = call(&mut **dialect, &mut cx);
        for command in commands {
            self.sink.send(command);
        }
        result
    }

    /// A dialect that panicked over one message goes on with the next: its other sessions are not at fault.
    fn lock(&self) -> MutexGuard<'_, Box<dyn Dialect>> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conversation")
    }
}
