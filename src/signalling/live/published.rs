//! \[pure\] The events that the protocol publishes to those outside of its rooms, and what is in them.

use std::net::IpAddr;

use super::about::About;
use super::envelope::Object;
use crate::signalling::protocol::Notice;

/// Of whom an event tells.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) room: &'a str,
    pub(super) room_size: usize,
    pub(super) socket_id: &'a str,
    pub(super) user_id: &'a str,
}

impl Of<'_> {
    fn body(&self) -> Object {
        let body = Object::new().text("roomId", self.room).number("roomSize", size(self.room_size));
        body.text("socketId", self.socket_id).text("userId", self.user_id)
    }
}

pub(super) fn joined(of: Of<'_>, about: &About, ip: IpAddr) -> Notice {
    let body = of
        .body()
        .text("platform", &about.platform)
        .text("deviceName", &about.device_name)
        .text("networkType", &about.network_type)
        .text("appVersion", &about.app_version)
        .text("version", &about.version)
        .text("ip", &ip.to_string())
        .number("bitrate", about.max_video_bitrate);
    notice(of.room, "room.join", body)
}

pub(super) fn left(of: Of<'_>) -> Notice {
    notice(of.room, "room.leave", of.body())
}

/// Who is in a room now: pairs of socketId and userId.
pub(super) fn live<'a>(room: &str, sessions: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Notice {
    let body = Object::new().text("roomId", room).number("roomSize", size(sessions.len()));
    notice(room, "room.live", body.array("sessions", sessions.map(|(socket, user)| session(socket, user))))
}

pub(super) fn ping(room: &str, socket_id: &str) -> Notice {
    notice(room, "webrtc.ping", Object::new().text("socketId", socket_id))
}

pub(super) fn freeze(room: &str, socket_id: &str) -> Notice {
    notice(room, "webrtc.freeze", Object::new().text("socketId", socket_id))
}

pub(super) fn cpu(room: &str, socket_id: &str, used: i64) -> Notice {
    notice(room, "webrtc.cpu", Object::new().text("socketId", socket_id).number("cpuUsed", used))
}

/// How somebody is named wherever one is named.
pub(super) fn session(socket_id: &str, user_id: &str) -> Object {
    Object::new().text("socketId", socket_id).text("userId", user_id)
}

pub(super) fn size(people: usize) -> i64 {
    i64::try_from(people).unwrap_or(i64::MAX)
}

fn notice(room: &str, topic: &'static str, body: Object) -> Notice {
    Notice { room: room.to_owned(), topic, body: body.finish().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Of<'static> = Of { room: "r", room_size: 2, socket_id: "AB", user_id: "ann" };

    #[test]
    fn bodies_are_what_consumers_expect() {
        let about = About { platform: "Web".into(), app_version: "3".into(), ..About::default() };
        let notices = [
            joined(OF, &about, IpAddr::from([192, 0, 2, 1])),
            left(OF),
            live("r", [("AB", "ann"), ("CD", "bob")].into_iter()),
            cpu("r", "AB", 40),
        ];
        let expected = [
            (
                "room.join",
                r#"{"roomId":"r","roomSize":2,"socketId":"AB","userId":"ann","platform":"Web","deviceName":"","networkType":"","appVersion":"3","version":"","ip":"192.0.2.1","bitrate":0}"#,
            ),
            ("room.leave", r#"{"roomId":"r","roomSize":2,"socketId":"AB","userId":"ann"}"#),
            (
                "room.live",
                r#"{"roomId":"r","roomSize":2,"sessions":[{"socketId":"AB","userId":"ann"},{"socketId":"CD","userId":"bob"}]}"#,
            ),
            ("webrtc.cpu", r#"{"socketId":"AB","cpuUsed":40}"#),
        ];
        for (notice, (topic, body)) in notices.iter().zip(expected) {
            assert_eq!((notice.topic, std::str::from_utf8(&notice.body).unwrap()), (topic, body));
        }
    }
}
