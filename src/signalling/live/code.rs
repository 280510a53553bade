//! \[pure\] The error codes of the protocol, as they stand in `e`.

/// Why a request failed. The number is what clients know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Code {
    /// The envelope, or what is in it, cannot be read.
    Json = 1282,
    /// A required field is missing or empty.
    FieldMissing = 1283,
    /// The bearer is wrong or no longer valid.
    AuthFailed = 1286,
    /// An event finds no place among those that wait for publication.
    EventsFull = 1289,
    /// There is no such action.
    UnknownAction = 1296,
    /// Nothing before `join` or `reconnect`.
    NotAuthenticated = 1297,
    /// Nobody of that id is in the room.
    NoSuchPeer = 1298,
    /// Janus makes no room.
    JanusCreateRoom = 1301,
    /// Janus lets nobody in.
    JanusJoin = 1302,
    /// Janus does not take the offer.
    JanusConfigure = 1303,
    /// Janus does not take the candidate.
    JanusTrickle = 1304,
    /// Janus does not attach the plugin.
    JanusAttach = 1305,
    /// Janus does not start what was answered.
    JanusStart = 1312,
    /// A second `join` on a connection.
    AlreadyJoined = 1315,
    /// The room has as many as it may.
    RoomFull = 1316,
    /// `reconnect` of somebody who is not there any more.
    NobodyToReconnect = 1317,
    /// The session at Janus ended, or never began.
    JanusSession = 1318,
    /// What the description belongs to is gone.
    Session = 1319,
    /// The description cannot be read.
    SdpDecode = 1320,
    /// An event finds no place among what waits for somebody who lost the connection.
    Event = 1321,
    /// No media server: it cannot be reached, or there is none.
    Network = 1328,
    /// Janus answered without a description.
    SdpEncode = 1329,
    /// A publisher offers once.
    AlreadyNegotiated = 1330,
}

impl Code {
    pub(super) fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_clients_know() {
        for (code, hex) in [
            (Code::Json, 0x502),
            (Code::FieldMissing, 0x503),
            (Code::AuthFailed, 0x506),
            (Code::EventsFull, 0x509),
            (Code::UnknownAction, 0x510),
            (Code::NotAuthenticated, 0x511),
            (Code::NoSuchPeer, 0x512),
            (Code::JanusCreateRoom, 0x515),
            (Code::JanusAttach, 0x519),
            (Code::JanusStart, 0x520),
            (Code::AlreadyJoined, 0x523),
            (Code::RoomFull, 0x524),
            (Code::NobodyToReconnect, 0x525),
            (Code::JanusSession, 0x526),
            (Code::Session, 0x527),
            (Code::SdpDecode, 0x528),
            (Code::Event, 0x529),
            (Code::Network, 0x530),
            (Code::SdpEncode, 0x531),
            (Code::AlreadyNegotiated, 0x532),
        ] {
            assert_eq!(code.number(), hex, "{code:?}");
        }
    }
}
