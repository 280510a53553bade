//! \[pure\] Which paths belong to rooms that the edge serves itself: their protocols say more about them than a prefix.

use crate::config::{RoomRules, Route, RouteUpstream};

/// What a route takes of the paths that its prefixes match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Everything, before rooms that are anywhere.
    Prefix,
    /// Whole segments behind the prefix.
    Segment,
    /// The prefix alone, and whatever ends in `/signaling`.
    Signaling,
    /// Everything that nobody else takes.
    Anywhere,
}

impl Placement {
    pub(super) fn of(route: &Route) -> Placement {
        let RouteUpstream::Rooms(signalling) = &route.upstream else { return Placement::Prefix };
        match signalling.rules {
            RoomRules::WebrtcServer(_) | RoomRules::Live(_) => Placement::Segment,
            RoomRules::Blueprints(_) => Placement::Signaling,
            RoomRules::Gst(_) | RoomRules::Webrtcsink(_) => Placement::Anywhere,
        }
    }

    /// Whether a path that starts with `prefix` is meant.
    pub fn takes(self, prefix: &str, path: &str) -> bool {
        let rest = path.strip_prefix(prefix).unwrap_or_default();
        match self {
            Placement::Prefix | Placement::Anywhere => true,
            Placement::Segment => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
            Placement::Signaling => rest.is_empty() || rest == "/" || path.ends_with("/signaling"),
        }
    }
}
