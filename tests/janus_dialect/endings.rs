//! What ends a session, and what comes after (janus.md §2.5).

use serde_json::{Value, json};
use xrtc::dialect::{Carrier, ConnectionId, Side, Verdict};
use xrtc::session::registration::{EndReason, Mode, SessionId};

use crate::edge::*;

/// A session of Janus session 11, handle 22.
fn established(carrier: Carrier<'_>) -> (Edge, SessionId) {
    let mut edge = Edge::new(Mode::HalfProxy);
    let offer = json!({"janus": "message", "session_id": 11, "handle_id": 22, "jsep": {"type": "offer", "sdp": sdp("cccc", &[])}});
    edge.handle(Side::Client, carrier, offer.to_string().as_bytes());
    edge.handle(Side::Backend, carrier, event("answer", &sdp("bbbb", &[5001])).to_string().as_bytes());
    let session = edge.last_registration().session;
    (edge, session)
}

#[test]
fn requests_of_the_client_end_a_session_at_once() {
    for (carrier, body, reason) in [
        (POST, json!({"janus": "hangup"}), EndReason::Hangup),
        (POST, json!({"janus": "detach"}), EndReason::Detached),
        (POST_SESSION, json!({"janus": "destroy"}), EndReason::Destroyed),
        (WS, json!({"janus": "hangup", "session_id": 11, "handle_id": 22}), EndReason::Hangup),
        (WS, json!({"janus": "detach", "session_id": 11, "handle_id": 22}), EndReason::Detached),
        (WS, json!({"janus": "destroy", "session_id": 11}), EndReason::Destroyed),
    ] {
        let (mut edge, session) = established(carrier);
        assert_eq!(edge.handle(Side::Client, carrier, body.to_string().as_bytes()), Verdict::Pass, "{body}");
        assert_eq!(edge.ends(), [(session, reason)], "{body}");
        edge.handle(Side::Client, carrier, body.to_string().as_bytes());
        assert_eq!(edge.ends().len(), 1, "once");
    }
}

#[test]
fn events_of_the_backend_end_a_session_at_once() {
    let error =
        |code: u16| json!({"janus": "error", "session_id": 11, "error": {"code": code, "reason": "No such"}});
    for (carrier, body, reason) in [
        (
            POLL,
            json!([{"janus": "hangup", "session_id": 11, "sender": 22, "reason": "DTLS alert"}]),
            EndReason::Hangup,
        ),
        (POLL, json!([{"janus": "detached", "session_id": 11, "sender": 22}]), EndReason::Detached),
        (POLL, json!([{"janus": "media"}, {"janus": "timeout", "session_id": 11}]), EndReason::Destroyed),
        (POST, error(458), EndReason::Destroyed),
        (POST, json!({"janus": "error", "transaction": "t", "error": {"code": 458}}), EndReason::Destroyed),
        (POST, error(459), EndReason::Detached),
        (WS, json!({"janus": "hangup", "session_id": 11, "sender": 22}), EndReason::Hangup),
        (WS, json!({"janus": "timeout", "session_id": 11}), EndReason::Destroyed),
        (WS, error(458), EndReason::Destroyed),
    ] {
        let (mut edge, session) = established(carrier);
        assert_eq!(edge.handle(Side::Backend, carrier, body.to_string().as_bytes()), Verdict::Pass, "{body}");
        assert_eq!(edge.ends(), [(session, reason)], "{body}");
    }
}

#[test]
fn other_messages_end_nothing() {
    let others = [
        json!({"janus": "keepalive", "session_id": 11}),
        json!({"janus": "hangup", "session_id": 11, "sender": 23}),
        json!({"janus": "detached", "session_id": 12, "sender": 22}),
        json!({"janus": "timeout"}),
        json!({"janus": "error", "session_id": 11, "error": {"code": 403}}),
        json!({"janus": "error", "session_id": 12, "error": {"code": 458}}),
        json!({"janus": "event", "session_id": 11, "sender": 22, "plugindata": {"data": {"error_code": 458}}}),
    ];
    let (mut edge, _) = established(WS);
    for body in others {
        assert_eq!(edge.handle(Side::Backend, WS, body.to_string().as_bytes()), Verdict::Pass);
        assert_eq!(edge.handle(Side::Client, WS, body.to_string().as_bytes()), Verdict::Pass);
    }
    assert!(edge.ends().is_empty());
}

#[test]
fn an_empty_answer_to_a_poll_says_that_janus_forgot_the_session() {
    let (mut edge, session) = established(POLL);
    assert_eq!(edge.handle(Side::Backend, POST, b""), Verdict::Pass);
    assert_eq!(
        edge.handle(Side::Backend, Carrier::Rest { method: "GET", path: "/janus/12" }, b""),
        Verdict::Pass
    );
    assert!(edge.ends().is_empty());
    assert_eq!(edge.handle(Side::Backend, POLL, b""), Verdict::Pass);
    assert_eq!(edge.ends(), [(session, EndReason::Destroyed)]);
}

#[test]
fn sessions_end_with_the_websocket_that_janus_serves_them_on() {
    let (mut edge, session) = established(WS);
    edge.with(|dialect, cx| dialect.closed(cx, ConnectionId(9)));
    assert!(edge.ends().is_empty());
    edge.with(|dialect, cx| dialect.closed(cx, SOCKET));
    assert_eq!(edge.ends(), [(session, EndReason::SignallingClosed)]);
}

#[test]
fn a_claimed_session_stays_when_its_old_websocket_closes() {
    let (mut edge, session) = established(WS);
    let claimed = json!({"janus": "success", "session_id": 11, "transaction": "t"}).to_string();
    edge.handle(Side::Backend, Carrier::WebSocket(ConnectionId(2)), claimed.as_bytes());
    edge.with(|dialect, cx| dialect.closed(cx, SOCKET));
    assert!(edge.ends().is_empty());
    edge.with(|dialect, cx| dialect.closed(cx, ConnectionId(2)));
    assert_eq!(edge.ends(), [(session, EndReason::SignallingClosed)]);
}

#[test]
fn a_client_cannot_end_a_session_by_naming_it_on_its_own_websocket() {
    let (mut edge, _) = established(WS);
    let stranger = ConnectionId(66);
    for body in [
        json!({"janus": "keepalive", "session_id": 11}),
        json!({"janus": "message", "session_id": 11, "handle_id": 22}),
    ] {
        edge.handle(Side::Client, Carrier::WebSocket(stranger), body.to_string().as_bytes());
    }
    let refused = json!({"janus": "error", "session_id": 11, "error": {"code": 403}}).to_string();
    edge.handle(Side::Backend, Carrier::WebSocket(stranger), refused.as_bytes());
    edge.with(|dialect, cx| dialect.closed(cx, stranger));
    assert!(edge.ends().is_empty());
}

#[test]
fn a_handle_that_hung_up_may_make_another_peer_connection() {
    let (mut edge, first) = established(POST);
    edge.client(json!({"janus": "hangup"}));
    edge.client_sdp("offer", &sdp("cccc", &[]));
    edge.backend_sdp("answer", &sdp("BBBB", &[5001]));
    let second = edge.last_registration();
    assert_ne!(second.session, first);
    assert_eq!(second.generation, 0);
}

#[test]
fn a_hangup_event_that_comes_late_leaves_the_next_offer_alone() {
    let (mut edge, _) = established(POST);
    edge.client(json!({"janus": "hangup"}));
    edge.client_sdp("offer", &sdp("CCCC", &[]));
    edge.backend(json!([{"janus": "hangup", "session_id": 11, "sender": 22}]));
    edge.backend_sdp("answer", &sdp("BBBB", &[5001]));
    assert_eq!(&*edge.last_registration().client.ufrag, "CCCC");
    assert_eq!(edge.ends().len(), 1);
}

#[test]
fn after_the_packet_side_ended_a_session_the_next_negotiation_makes_a_fresh_one() {
    let (mut edge, first) = established(POST);
    edge.dialect.ended(first, EndReason::ClientSilent);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    let shown = edge.backend_sdp("answer", &sdp("bbbb", &[5001]));
    let [old, new] = edge.registrations().try_into().unwrap();
    assert_ne!(old.session, new.session);
    assert_ne!(old.edge, new.edge);
    assert_eq!((new.generation, value_of(&shown, "a=ice-ufrag:")), (0, &*new.edge.ufrag));
    edge.client(json!({"janus": "detach"}));
    assert_eq!(edge.ends(), [(new.session, EndReason::Detached)], "the dead one is not ended again");
}

#[test]
fn a_transport_that_is_negotiated_away_ends() {
    let sections = |ufrag: &str, count: u8| {
        let section =
            |mid| format!("m=audio 9 X 0\r\na=mid:{mid}\r\n{}", credentials(&format!("{ufrag}{mid}")));
        format!("v=0\r\n{}", (0..count).map(section).collect::<String>())
    };
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client(json!({"janus": "message", "jsep": {"type": "offer", "sdp": sections("ccc", 2)}}));
    edge.backend_sdp("answer", &sections("bbb", 2));
    let second = edge.last_registration().session;
    let rejecting =
        |ufrag| sections(ufrag, 2).replace("m=audio 9 X 0\r\na=mid:1", "m=audio 0 X 0\r\na=mid:1");
    edge.client(json!({"janus": "message", "jsep": {"type": "offer", "sdp": rejecting("ccc")}}));
    edge.backend_sdp("answer", &rejecting("bbb"));
    assert_eq!(edge.ends(), [(second, EndReason::Replaced)]);
}

#[test]
fn bodies_without_ids_touch_no_state() {
    let (mut edge, _) = established(WS);
    let path = Carrier::Rest { method: "POST", path: "/janus" };
    for body in [
        json!({"janus": "destroy"}),
        json!({"janus": "hangup"}),
        json!({"janus": "detach", "session_id": "11"}),
        Value::Null,
    ] {
        edge.handle(Side::Client, path, body.to_string().as_bytes());
        edge.handle(Side::Client, WS, body.to_string().as_bytes());
    }
    assert!(edge.ends().is_empty());
}
