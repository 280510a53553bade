//! \[pure\] What is said to Janus within one session of it, and which request an answer belongs to (janus.md §1).

use std::collections::HashMap;

use bytes::Bytes;

use super::names::Feed;
use super::plugin::Plugin;
use crate::signalling::live::envelope::Object;
use crate::signalling::live::janus::{Kind, Message};

/// A session at Janus, as far as words go.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub(super) session: Option<u64>,
    api_secret: Option<String>,
    asked: HashMap<u64, Asked>,
    last_transaction: u64,
    out: Vec<Bytes>,
}

/// What a transaction asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Session,
    Attach(Plugin),
    CreateRoom { of: Plugin, is_again: bool },
    Join { of: Plugin, is_again: bool },
    Publish,
    AttachFeed(Feed),
    Subscribe(Feed),
    Start,
    Trickle,
}

impl Talk {
    pub(super) fn new(api_secret: Option<String>) -> Self {
        Talk { api_secret, ..Talk::default() }
    }

    /// Asks Janus itself, or with a handle the plugin behind it.
    pub(super) fn ask(&mut self, asked: Asked, janus: &str, handle: Option<u64>, rest: Object) {
        self.asked.insert(self.last_transaction + 1, asked);
        self.tell(janus, handle, rest);
    }

    /// Asks for a handle of a plugin.
    pub(super) fn attach(&mut self, asked: Asked, plugin: Plugin) {
        self.ask(asked, "attach", None, Object::new().text("plugin", plugin.package()));
    }

    /// Asks a plugin for something.
    pub(super) fn message(&mut self, asked: Asked, handle: Option<u64>, body: Object) {
        self.ask(asked, "message", handle, Object::new().object("body", body));
    }

    /// Hands a plugin a description.
    pub(super) fn describe(&mut self, asked: Asked, handle: Option<u64>, body: Object, jsep: &[u8]) {
        self.ask(asked, "message", handle, Object::new().object("body", body).raw("jsep", jsep));
    }

    /// Says something whose answer does not matter.
    pub(super) fn tell(&mut self, janus: &str, handle: Option<u64>, rest: Object) {
        self.last_transaction += 1;
        let mut message = rest.text("janus", janus).text("transaction", &self.last_transaction.to_string());
        if let Some(session) = self.session {
            message = message.raw("session_id", session.to_string().as_bytes());
        }
        if let Some(handle) = handle {
            message = message.raw("handle_id", handle.to_string().as_bytes());
        }
        if let Some(secret) = &self.api_secret {
            message = message.text("apisecret", secret);
        }
        self.out.push(message.finish());
    }

    /// What the message answers, if it is the last word about anything.
    pub(super) fn answered(&mut self, message: &Message<'_>) -> Option<Asked> {
        let transaction = message.transaction?;
        // An `ack` says only that an event will follow, but for a candidate it is all there is.
        let is_final = message.kind != Kind::Ack || self.asked.get(&transaction) == Some(&Asked::Trickle);
        is_final.then(|| self.asked.remove(&transaction)).flatten()
    }

    /// What is to be sent, in order.
    pub(super) fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }
}
