//! \[pure\] How Janus names rooms and those who are in them, and how it wants to be asked.

use std::borrow::Cow;

use crate::json_edit::{Value, quote};
use crate::signalling::live::janus::number_of;

/// How Janus is set up, as far as it concerns everybody.
#[derive(Clone, Debug, Default)]
pub(in crate::signalling::live) struct Janus {
    pub(in crate::signalling::live) string_ids: bool,
    pub(in crate::signalling::live) api_secret: Option<String>,
    pub(in crate::signalling::live) admin_key: Option<String>,
    /// Most publishers of a room.
    pub(in crate::signalling::live) publishers: usize,
    /// Whether sound is mixed for those who ask for it.
    pub(in crate::signalling::live) mixes: bool,
}

/// Somebody's place in a room.
#[derive(Clone, Debug)]
pub(in crate::signalling::live) struct Place {
    /// The room's id, as JSON.
    pub(super) room: String,
    /// The own id in it, as JSON.
    pub(super) feed: Feed,
    pub(super) display: String,
    pub(super) publishers: usize,
    pub(super) api_secret: Option<String>,
    pub(super) admin_key: Option<String>,
    /// Whether its owner hears the others mixed, too.
    pub(super) is_mixed: bool,
}

impl Janus {
    pub(in crate::signalling::live) fn place(
        &self,
        room: &str,
        socket_id: &str,
        user_id: &str,
        is_mixed: bool,
    ) -> Place {
        Place {
            room: self.id(room),
            feed: self.feed(socket_id),
            display: user_id.to_owned(),
            publishers: self.publishers,
            api_secret: self.api_secret.clone(),
            admin_key: self.admin_key.clone(),
            is_mixed,
        }
    }

    /// The publisher id of somebody.
    pub(in crate::signalling::live) fn feed(&self, socket_id: &str) -> Feed {
        Feed(self.id(socket_id).into())
    }

    fn id(&self, text: &str) -> String {
        match self.string_ids {
            true => text_of(&quote(text)).into_owned(),
            false => number_of(text).to_string(),
        }
    }
}

/// A publisher's id in a room, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::signalling::live) struct Feed(pub(super) Box<str>);

impl Feed {
    pub(super) fn of(value: &Value<'_>) -> Self {
        Feed(text_of(value.raw()).into())
    }
}

fn text_of(json: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(json)
}
