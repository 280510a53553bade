//! `xrtc probe` as a program: against an endpoint that echoes, straight and through the edge, and against each thing that can
//! be wrong. Every verdict is asserted with its exit code.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

mod probe_support;
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use probe_support::echo::{Echo, Faults};
use probe_support::raw::{self, Authority};
use probe_support::{Said, probe, probe_text, said, xrtc};
use support::edge::Edge;
use support::routes;
use tokio::net::UdpSocket;

async fn against(faults: Faults) -> Said {
    let server = Echo::start(faults).await;
    probe(&["--transport", "udp", &server.janus()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn straight_at_a_server_audio_video_and_data_come_back() {
    let server = Echo::start(Faults::default()).await;
    let said = probe(&[&server.janus()]).await.expect("works", 0);
    let udp = said.attempt("udp");
    assert_eq!(udp["paths"][0]["state"], "answers");
    assert_eq!(udp["paths"][0]["checks_answered"], 3);
    assert!(udp["call"]["audio"]["returned"].as_u64().unwrap() >= 45, "{udp:#}");
    assert!(udp["call"]["video"]["returned"].as_u64().unwrap() >= 9, "{udp:#}");
    assert_eq!(udp["call"]["data"]["returned"], 5);
    assert_eq!(said.attempt("tcp")["state"], "not_offered");
    assert_eq!(said.json["server"]["name"], "Test server");
    assert_eq!(said.json["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_edge_udp_tcp_and_tls_work() {
    let server = Echo::start(Faults::default()).await;
    let edge = Edge::start_with(|ground| routes::with_udp(ground, server.addr));
    let said = probe(&[&format!("http://{}/janus", edge.http)]).await.expect("works", 0);
    let mut handshakes = Vec::new();
    for transport in ["udp", "tcp", "tls"] {
        let attempt = said.attempt(transport);
        assert_eq!(attempt["state"], "works", "{attempt:#}");
        assert!(attempt["call"]["audio"]["returned"].as_u64().unwrap() >= 45, "{attempt:#}");
        handshakes.push(attempt["call"]["dtls_ms"].as_f64().unwrap());
    }
    // The server begins before the call does. Were that missed, each handshake would wait a whole second for its repetition.
    assert!(handshakes.iter().any(|ms| *ms < 900.0), "{handshakes:?}");
    assert_eq!(said.json["server"]["edge"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn trickled_candidates_and_a_server_without_info_are_fine() {
    against(Faults { trickle: true, ..Faults::default() }).await.expect("works", 0);
    against(Faults { no_info: true, ..Faults::default() }).await.expect("works", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_is_aligned_plain_and_ends_with_the_verdict() {
    let server = Echo::start(Faults::default()).await;
    let (code, text) = probe_text(&["--transport", "udp", &server.janus()]).await;
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains('\x1b'), "no colour in a pipe: {text}");
    assert!(text.contains("audio: 50 of 50 frames came back"), "{text}");
    assert_eq!(text.lines().last(), Some("works: UDP works: audio, video and data come back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_address_and_a_port_without_listener_are_told_apart() {
    probe(&["http://nowhere.invalid/janus"]).await.expect("name-not-found", 3);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = probe(&[&format!("http://{free}/janus")]).await.expect("connect-refused", 3);
    assert!(said.message().contains(&free.to_string()), "{}", said.message());
    let (silent, _held) = support::unreachable::listener().await;
    probe(&[&format!("ws://{silent}")]).await.expect("connect-timeout", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_told_by_what_is_wrong_with_it() {
    let server = Echo::start(Faults::default()).await;
    let authority = Authority::new();
    let ca = authority.file.to_str().unwrap();
    let url = |addr: std::net::SocketAddr| format!("https://{addr}/janus");

    let expired = url(authority.in_front_of(server.addr, "127.0.0.1", 2021).await);
    let said = probe(&["--ca-file", ca, &expired]).await.expect("tls-expired", 3);
    assert!(said.message().contains("expired") && said.message().contains("days ago"), "{}", said.message());

    let other = url(authority.in_front_of(server.addr, "edge.example.org", 2090).await);
    let said = probe(&["--ca-file", ca, &other]).await.expect("tls-name", 3);
    assert!(said.message().contains("edge.example.org"), "{}", said.message());

    let good = url(authority.in_front_of(server.addr, "127.0.0.1", 2090).await);
    probe(&[&good]).await.expect("tls-unknown-ca", 3);
    probe(&["--ca-file", ca, "--transport", "udp", &good]).await.expect("works", 0);
    let said = probe(&["--insecure", "--transport", "udp", &expired]).await.expect("works", 0);
    assert_eq!(said.json["warnings"].as_array().unwrap().len(), 1, "{:#}", said.json);

    let plain = url(server.addr);
    probe(&[&plain]).await.expect("tls-failed", 3);
    probe(&["--ca-file", "/nowhere.pem", &good]).await.expect("local", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_http_status_has_its_verdict() {
    for (status, headers, body, cause) in [
        ("404 Not Found", "", "", "http-not-found"),
        ("401 Unauthorized", "", "", "http-unauthorized"),
        ("403 Forbidden", "", "go away", "http-unauthorized"),
        ("302 Found", "Location: https://login.example.org/\r\n", "", "http-redirect"),
        ("500 Internal Server Error", "", "", "http-server-error"),
        ("502 Bad Gateway", "", r#"{"status":"upstream 10.0.0.2:8088: refused"}"#, "upstream-down"),
        ("503 Service Unavailable", "", "", "upstream-down"),
        ("418 I'm a teapot", "", "", "http-unexpected"),
    ] {
        let server = raw::says(raw::http(status, headers, body)).await;
        let said = probe(&[&format!("http://{server}/janus")]).await.expect(cause, 4);
        assert!(said.message().contains(&status[..3]), "{}", said.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_says_that_its_janus_is_down() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edge = Edge::start_with(|ground| routes::with_udp(ground, nobody));
    let said = probe(&[&format!("http://{}/janus", edge.http)]).await.expect("upstream-down", 4);
    assert!(
        said.message().contains("502") && said.message().contains(&nobody.to_string()),
        "{}",
        said.message()
    );
    let said = probe(&[&format!("ws://{}/janus", edge.http)]).await;
    assert_eq!(said.code, 4, "{:#}", said.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_janus_is_recognised() {
    for body in ["<html>welcome</html>", r#"{"hello":1}"#, "[]", "", "{", r#"{"janus":7}"#] {
        let server = raw::says(raw::http("200 OK", "", body)).await;
        probe(&[&format!("http://{server}/janus")]).await.expect("not-janus", 4);
    }
    let server = raw::says("220 mail.example.org ESMTP\r\n").await;
    assert!(probe(&[&format!("http://{server}/janus")]).await.code >= 3);
    let server = Echo::start(Faults::default()).await;
    probe(&[&format!("ws://{}/janus", server.addr)]).await.expect("no-websocket", 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_plugins_are_named() {
    let server = Echo::start(Faults { token: Some("t0k3n".to_owned()), ..Faults::default() }).await;
    let said = probe(&[&server.janus()]).await.expect("janus-unauthorized", 4);
    assert!(said.message().contains("wants a token"), "{}", said.message());
    let said = probe(&["--token", "wrong-one", &server.janus()]).await.expect("janus-unauthorized", 4);
    assert!(said.message().contains("refuses"), "{}", said.message());
    assert!(!said.json.to_string().contains("wrong-one"), "a token is never shown");
    probe(&["--token", "t0k3n", "--transport", "udp", &server.janus()]).await.expect("works", 0);
    let said = probe(&["--token", "t0k3n", "--plugin", "janus.plugin.nope", &server.janus()]).await;
    let said = said.expect("plugin-missing", 4);
    assert!(said.message().contains("janus.plugin.echotest"), "{}", said.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_no_offer_is_no_media_server() {
    let with = |sdp: &str| Faults { instead: Some(sdp.to_owned()), ..Faults::default() };
    for sdp in ["v=0\r\n", "rubbish", "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 X 0\r\n"] {
        let said = against(with(sdp)).await;
        assert!(["bad-answer", "no-candidates"].contains(&said.cause()), "{sdp}: {:#}", said.json);
    }
    against(with(&format!("v=0\r\n{}", "a=x\r\n".repeat(100_000)))).await.expect("bad-answer", 4);
    against(Faults { candidate: Some(String::new()), ..Faults::default() }).await.expect("no-candidates", 5);
    let tcp = "candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive";
    against(Faults { candidate: Some(tcp.to_owned()), ..Faults::default() })
        .await
        .expect("transport-not-offered", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_a_silent_port_and_a_wrong_address_are_told_apart() {
    let candidate = |addr: std::net::SocketAddr| Faults {
        candidate: Some(format!("candidate:1 1 udp 1 {} {} typ host", addr.ip(), addr.port())),
        ..Faults::default()
    };
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let said = against(candidate(silent.local_addr().unwrap())).await.expect("port-silent", 5);
    assert!(said.message().contains("no answer to 7 checks"), "{}", said.message());
    assert_eq!(said.attempt("udp")["paths"][0]["checks_sent"], 7);

    let elsewhere = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let said = against(candidate(elsewhere.local_addr().unwrap())).await.expect("candidate-elsewhere", 5);
    assert!(
        said.message().contains("127.0.0.1") && said.fix().contains("candidate_ips"),
        "{}",
        said.message()
    );

    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    against(candidate(closed)).await.expect("port-refused", 5);
    let name = Faults {
        candidate: Some("candidate:1 1 udp 1 a.local 5000 typ host".to_owned()),
        ..Faults::default()
    };
    against(name).await.expect("candidate-name", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_stun_without_the_password_is_a_stranger() {
    for (foreign, cause) in [(false, "check-refused"), (true, "check-foreign")] {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        tokio::spawn(stun_stranger(socket, foreign));
        let candidate = format!("candidate:1 1 udp 1 {} {} typ host", addr.ip(), addr.port());
        against(Faults { candidate: Some(candidate), ..Faults::default() }).await.expect(cause, 5);
    }
}

async fn stun_stranger(socket: UdpSocket, foreign: bool) {
    use xrtc::stun::{ErrorCode, Key, Message, binding_error, binding_success};
    let key = Key::short_term("somebody else's password");
    let (mut packet, mut reply) = ([0; 2000], [0; 300]);
    while let Ok((len, from)) = socket.recv_from(&mut packet).await {
        let id = Message::parse(&packet[..len]).unwrap().transaction_id();
        let len = match foreign {
            true => binding_success(&mut reply, id, from, &key),
            false => binding_error(&mut reply, id, ErrorCode::UNAUTHENTICATED, std::iter::empty(), &key),
        };
        let _ = socket.send_to(&reply[..len.unwrap()], from).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dtls_that_is_silent_and_dtls_of_another_server_are_told_apart() {
    let said = against(Faults { no_dtls: true, ..Faults::default() }).await.expect("dtls-silent", 6);
    assert!(said.message().contains("answers STUN, but no DTLS comes back"), "{}", said.message());
    let other = ("a=fingerprint:sha-256 ".to_owned(), "a=fingerprint:sha-256 00:".to_owned());
    let said = against(Faults { answer: vec![other], ..Faults::default() }).await;
    assert_eq!((said.cause(), said.code), ("dtls-fingerprint", 6), "{:#}", said.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_one_way_and_missing_data_are_told_apart() {
    let said = against(Faults { mute: true, ..Faults::default() }).await.expect("media-one-way", 7);
    assert_eq!(said.attempt("udp")["call"]["audio"]["server_receives"], true);
    let said = against(Faults { no_data: true, ..Faults::default() }).await.expect("data-missing", 7);
    assert!(said.attempt("udp")["call"]["audio"]["returned"].as_u64().unwrap() >= 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn whip_publishes_and_says_that_nothing_echoes() {
    let server = Echo::start(Faults { token: Some("t0k3n".to_owned()), ..Faults::default() }).await;
    probe(&[&server.whip()]).await.expect("http-unauthorized", 4);
    let said = probe(&["--token", "t0k3n", &server.whip()]).await.expect("works", 0);
    assert!(said.message().contains("WHIP echoes nothing"), "{}", said.message());
    let audio = &said.attempt("udp")["call"]["audio"];
    assert_eq!((&audio["sent"], &audio["returned"]), (&50.into(), &0.into()));
    let janus = raw::says(raw::http("405 Method Not Allowed", "", "")).await;
    probe(&["--protocol", "whip", &format!("http://{janus}/live")]).await.expect("not-whip", 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_or_bound_ends_in_a_verdict() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let piece: &'static [u8] = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat().leak();
    let huge = raw::never_ends(HEAD, piece, 0).await;
    let slow = raw::never_ends(HEAD, b"1\r\nx\r\n", 100).await;
    let headers =
        raw::never_ends("HTTP/1.1 200 OK\r\n", b"X-Filler: 0123456789012345678901234567890123456789\r\n", 0)
            .await;
    let nothing = raw::serve(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let start = Instant::now();
    let url = |addr| format!("http://{addr}/janus");
    let (huge, slow, headers, nothing) = (url(huge), url(slow), url(headers), url(nothing));
    let (slow_args, nothing_args) = (["--timeout", "3", &slow], ["--timeout", "1.5", &nothing]);
    let (huge, slow, headers, nothing) = tokio::join!(
        in_little_memory(&huge),
        probe(&slow_args),
        in_little_memory(&headers),
        probe(&nothing_args),
    );
    huge.expect("answer-too-large", 4);
    let slow = slow.expect("timeout", 9);
    assert!(slow.message().contains("waited for the server to say who it is"), "{}", slow.message());
    assert!(headers.code >= 3, "{:#}", headers.json);
    nothing.expect("timeout", 9);
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

/// With no more than 600 MB of address space, of which threads and libraries take most.
async fn in_little_memory(url: &str) -> Said {
    let program = xrtc().get_program().to_owned();
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -v 600000; exec \"$0\" probe --json \"$1\""]).arg(program).arg(url);
        said(shell.output().unwrap())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_server_never_reach_the_terminal_raw() {
    let server = raw::says(raw::http("502 Bad Gateway", "", "\x1b]0;owned\x07\x1b[2Jfine")).await;
    let (code, text) = probe_text(&[&format!("http://{server}/janus")]).await;
    assert_eq!(code, 4);
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
}

#[test]
fn bad_usage_ends_with_two() {
    for args in [&["probe"][..], &["probe", "edge.example.org"], &["probe", "--timeout", "0", "http://h/"]] {
        assert_eq!(xrtc().args(args).output().unwrap().status.code(), Some(2), "{args:?}");
    }
    let help = xrtc().args(["probe", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Exit codes") && help.contains("xrtc probe https://"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_run_and_its_session_at_once() {
    let server = Echo::start(Faults::default()).await;
    let edge = Edge::start_with(|ground| routes::with_udp(ground, server.addr));
    let url = format!("http://{}/janus", edge.http);
    let child = xrtc().args(["probe", "--json", &url]).stdout(Stdio::piped()).spawn().unwrap();
    edge.says("INFO connected session=", 1).await;
    Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(130), &b""[..]));
    edge.says("reason=destroyed", 1).await;
}
