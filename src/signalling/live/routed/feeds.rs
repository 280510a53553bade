//! \[pure\] The other publishers of a room, and the handles that subscribe to them.

use std::collections::HashMap;

use super::names::{Feed, Place};
use super::plugin::Plugin;
use super::talk::{Asked, Talk};
use crate::signalling::live::envelope::Object;
use crate::signalling::live::janus::Message;

/// Publishers that are subscribed to at a time. A room has eight unless configured otherwise.
const MAX_FEEDS: usize = 256;

/// Each publisher that is known, with the handle that subscribes to it.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    handles: HashMap<Feed, Option<u64>>,
    /// Others' media are offered once the own leg is up, so that a client sees its own answer first.
    are_wanted: bool,
    /// As JSON.
    private_id: Option<String>,
}

impl Feeds {
    /// Takes in what the room tells on being entered.
    pub(super) fn entered(&mut self, message: &Message<'_>) {
        self.private_id = message.said("private_id").map(|id| String::from_utf8_lossy(id.raw()).into_owned());
    }

    /// The client's own media flow.
    pub(super) fn want(&mut self, talk: &mut Talk) {
        if std::mem::replace(&mut self.are_wanted, true) {
            return;
        }
        for feed in self.handles.keys() {
            talk.attach(Asked::AttachFeed(feed.clone()), Plugin::VideoRoom);
        }
    }

    /// Takes in who publishes and who no longer does.
    pub(super) fn told(&mut self, talk: &mut Talk, own: &Feed, message: &Message<'_>) {
        for key in ["unpublished", "leaving"] {
            if let Some(id) = message.said(key) {
                self.forget(talk, &Feed::of(&id));
            }
        }
        let publishers = message.said("publishers").into_iter().flat_map(|list| list.elements());
        for id in publishers.filter_map(|publisher| publisher.member("id")) {
            let feed = Feed::of(&id);
            if self.handles.contains_key(&feed) || self.handles.len() >= MAX_FEEDS || feed == *own {
                continue;
            }
            self.handles.insert(feed.clone(), None);
            if self.are_wanted {
                talk.attach(Asked::AttachFeed(feed), Plugin::VideoRoom);
            }
        }
    }

    /// Subscribes by a handle that was asked for.
    pub(super) fn subscribe(&mut self, talk: &mut Talk, place: &Place, feed: Feed, handle: u64) {
        let Some(known) = self.handles.get_mut(&feed) else {
            return talk.tell("detach", Some(handle), Object::new());
        };
        *known = Some(handle);
        let stream = Object::new().raw("feed", feed.0.as_bytes());
        let mut body = Object::new()
            .text("request", "join")
            .text("ptype", "subscriber")
            .raw("room", place.room.as_bytes())
            .array("streams", [stream]);
        if let Some(id) = &self.private_id {
            body = body.raw("private_id", id.as_bytes());
        }
        talk.message(Asked::Subscribe(feed), Some(handle), body);
    }

    pub(super) fn forget(&mut self, talk: &mut Talk, feed: &Feed) {
        if let Some(Some(handle)) = self.handles.remove(feed) {
            talk.tell("detach", Some(handle), Object::new());
        }
    }

    /// The handle that subscribes to somebody.
    pub(super) fn handle(&self, feed: &Feed) -> Option<u64> {
        self.handles.get(feed).copied().flatten()
    }

    /// To whom a handle subscribes.
    pub(super) fn feed_of(&self, handle: u64) -> Option<Feed> {
        self.handles.iter().find(|(_, of)| **of == Some(handle)).map(|(feed, _)| feed.clone())
    }
}
