//! \[pure\] The two plugins whose rooms are used: the VideoRoom, and the AudioBridge that mixes. Rooms of both are made and
//! entered the same way; this is what differs.

use super::names::Place;
use crate::signalling::live::envelope::Object;

/// The AudioBridge mixes at what Opus carries best.
const SAMPLING_RATE: i64 = 48_000;

/// A plugin of Janus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    VideoRoom,
    AudioBridge,
}

impl Plugin {
    /// What it is attached by.
    pub(super) fn package(self) -> &'static str {
        match self {
            Plugin::VideoRoom => "janus.plugin.videoroom",
            Plugin::AudioBridge => "janus.plugin.audiobridge",
        }
    }

    /// Its error code for a room that is not there.
    pub(super) fn no_such_room(self) -> u64 {
        match self {
            Plugin::VideoRoom => 426,
            Plugin::AudioBridge => 485,
        }
    }

    /// Its error code for making a room that is there.
    pub(super) fn room_exists(self) -> u64 {
        match self {
            Plugin::VideoRoom => 427,
            Plugin::AudioBridge => 486,
        }
    }

    /// Makes the room.
    pub(super) fn create(self, place: &Place) -> Object {
        let body = Object::new().text("request", "create").raw("room", place.room.as_bytes());
        let body = match self {
            Plugin::VideoRoom => body
                .number("publishers", i64::try_from(place.publishers).unwrap_or(i64::MAX))
                .text("audiocodec", "opus")
                .text("videocodec", "vp8"),
            Plugin::AudioBridge => body.number("sampling_rate", SAMPLING_RATE),
        };
        match &place.admin_key {
            Some(key) => body.text("admin_key", key),
            None => body,
        }
    }

    /// Enters it. The AudioBridge then offers what it mixes.
    pub(super) fn join(self, place: &Place) -> Object {
        let body = Object::new().text("request", "join");
        let body = match self {
            Plugin::VideoRoom => body.text("ptype", "publisher"),
            Plugin::AudioBridge => body.raw("generate_offer", b"true"),
        };
        let body = body.raw("room", place.room.as_bytes()).raw("id", place.feed.0.as_bytes());
        body.text("display", &place.display)
    }

    /// Takes it away, with everybody who is in it.
    pub(super) fn destroy(place: &Place) -> Object {
        Object::new().text("request", "destroy").raw("room", place.room.as_bytes())
    }
}
