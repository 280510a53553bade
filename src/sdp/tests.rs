use super::candidate::{Candidate, Host};
use super::*;

const EDGE: &str = "candidate:1 1 udp 2013266431 192.0.2.1 6000 typ host";

fn edge() -> Vec<Box<str>> {
    vec![EDGE.into()]
}

fn show(sdp: &str, credentials: &[Option<(&str, &str)>], lite: bool) -> String {
    let description = Description::read(sdp).unwrap();
    towards_client(sdp, &description, &ClientView { candidates: &edge(), credentials, lite })
}

fn captured() -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sdp");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let named =
        |path: std::path::PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
    let all: Vec<_> = files.map(named).collect();
    assert!(all.len() > 90);
    all
}

#[test]
fn captured_descriptions_tell_their_transport() {
    for (name, sdp) in captured() {
        let description = Description::read(&sdp).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(description.transports().collect::<Vec<_>>(), [0], "{name}");
        assert_eq!(description.ice_lite, name.contains("lite") && name.contains("janus"), "{name}");
        let credentials = description.credentials(0).unwrap();
        assert!(sdp.contains(&format!("a=ice-ufrag:{}", credentials.ufrag)), "{name}");
        assert!(
            description.candidates.iter().all(|(_, candidate)| matches!(candidate.host, Host::Ip(_))),
            "{name}"
        );
    }
}

#[test]
fn hiding_changes_addresses_and_candidates_only() {
    for (name, sdp) in captured() {
        let hidden = hide(&sdp);
        assert!(!hidden.contains("10.77."), "{name}");
        let kept = |sdp: &str| -> Vec<String> {
            let other =
                |line: &Line<'_>| !line.text.starts_with(['c', 'o', 'm']) && !line.text.contains("candidate");
            lines(sdp).filter(other).map(|line| line.text.to_owned()).collect()
        };
        assert_eq!(kept(&hidden), kept(&sdp), "{name}");
        assert_eq!(hide(&hidden), hidden, "{name}: hiding twice changes nothing more");
    }
}

#[test]
fn rewritten_descriptions_are_read_by_another_parser() {
    for (name, sdp) in captured() {
        let credentials = vec![Some(("edgeedgeedge+/01", "edgepasswordedgepassword01")); 8];
        let shown = show(&sdp, &credentials, true);
        let session =
            sdp_types::Session::parse(shown.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lite = session.attributes.iter().filter(|attribute| attribute.attribute == "ice-lite").count();
        assert_eq!(lite, 1, "{name}");
        for media in &session.medias {
            let values = |name: &str| -> Vec<_> {
                let named = media.attributes.iter().filter(|attribute| attribute.attribute == name);
                named.map(|attribute| attribute.value.clone().unwrap_or_default()).collect()
            };
            assert_eq!(media.port, 9, "{name}");
            assert_eq!(values("candidate"), [EDGE.strip_prefix("candidate:").unwrap()], "{name}");
            assert_eq!(values("end-of-candidates").len(), 1, "{name}");
            assert_eq!(values("ice-ufrag"), ["edgeedgeedge+/01"], "{name}");
            assert_eq!(values("ice-pwd"), ["edgepasswordedgepassword01"], "{name}");
        }
        assert!(!shown.contains("10.77."), "{name}");
        sdp_types::Session::parse(hide(&sdp).as_bytes()).unwrap();
    }
}

const PWD: &str = "0123456789012345678901";

/// A description by its lines; `U` and `P` stand for credential lines.
fn sdp(lines: &[&str]) -> String {
    let expand = |line: &&str| match line.split_once(' ') {
        Some(("U", ufrag)) => format!("a=ice-ufrag:{ufrag}\r\n"),
        Some(("P", pwd)) => format!("a=ice-pwd:{pwd}\r\n"),
        _ if *line == "P" => format!("a=ice-pwd:{PWD}\r\n"),
        _ => format!("{line}\r\n"),
    };
    std::iter::once("v=0\r\n".to_owned()).chain(lines.iter().map(expand)).collect()
}

#[test]
fn neutral_addresses_take_the_place_of_real_ones() {
    for (line, neutral) in [
        ("c=IN IP4 10.77.0.1", "c=IN IP4 0.0.0.0"),
        ("c=IN IP6 2001:db8::1", "c=IN IP4 0.0.0.0"),
        ("c=IN IP4 224.2.1.1/127/3", "c=IN IP4 0.0.0.0"),
        ("o=- 123 4 IN IP4 10.77.0.1", "o=- 123 4 IN IP4 127.0.0.1"),
        ("o=mozilla...THIS-99.0 43 0 IN IP6 ::1", "o=mozilla...THIS-99.0 43 0 IN IP4 127.0.0.1"),
        ("o=- 1", "o=- 1 IN IP4 127.0.0.1"),
        ("m=audio 52163 UDP/TLS/RTP/SAVPF 111 63", "m=audio 9 UDP/TLS/RTP/SAVPF 111 63"),
        ("m=audio 49170/2 RTP/AVP 31", "m=audio 9/2 RTP/AVP 31"),
        ("m=video 0 UDP/TLS/RTP/SAVPF 96", "m=video 0 UDP/TLS/RTP/SAVPF 96"),
        (
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        ),
        ("a=rtcp:52164 IN IP4 10.77.0.1", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("a=rtcp:52164", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("a=RTCP:1 IN IP6 ::1", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("a=rtcp-mux", "a=rtcp-mux"),
        ("a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 nack pli"),
        ("a=extmap:1 urn:x", "a=extmap:1 urn:x"),
        ("a=ice-options:trickle", "a=ice-options:trickle"),
        ("s=Mountpoint 2", "s=Mountpoint 2"),
    ] {
        assert_eq!(hide(&format!("v=0\r\n{line}\r\n")), format!("v=0\r\n{neutral}\r\n"));
        assert_eq!(hide(&format!("v=0\n{line}")), format!("v=0\n{neutral}"));
    }
}

#[test]
fn candidate_lines_of_any_case_are_taken_out() {
    for line in [
        "a=candidate:1 1 udp 1 10.0.0.1 5 typ host",
        "a=CANDIDATE:1 1 udp 1 10.0.0.1 5 typ host",
        "A=candidate:1 1 udp 1 10.0.0.1 5 typ host",
        "a=candidate :1 1 udp 1 10.0.0.1 5 typ host",
        "a=candidate",
        "a=end-of-candidates",
        "a=End-Of-Candidates",
        "a=remote-candidates:1 10.0.0.1 5",
    ] {
        assert_eq!(hide(&format!("v=0\r\n{line}\r\na=x\r\n")), "v=0\r\na=x\r\n");
    }
    assert_eq!(hide("v=0\na=x\ra=candidate:1 1 udp 1 10.0.0.1 5 typ host"), "v=0\na=x\r");
}

#[test]
fn a_last_m_section_without_line_end_gets_candidates_like_the_others() {
    let sdp = format!(
        "v=0\nm=audio 9 X 0\na=ice-ufrag:abcd\na=ice-pwd:{PWD}\nm=video 9 X 0\na=ice-ufrag:abcd\na=ice-pwd:{PWD}"
    );
    let minted = [Some(("E1", "e1")), Some(("E2", "e2"))];
    let expected = format!(
        "v=0\na=ice-lite\nm=audio 9 X 0\na=ice-ufrag:E1\na=ice-pwd:e1\na={EDGE}\na=end-of-candidates\n\
         m=video 9 X 0\na=ice-ufrag:E2\na=ice-pwd:e2\na={EDGE}\na=end-of-candidates\n"
    );
    assert_eq!(show(&sdp, &minted, true), expected);
}

#[test]
fn credentials_of_the_session_part_hold_for_every_m_section() {
    let sdp = sdp(&["U sess", "P", "m=audio 9 X 0", "m=video 9 X 0", "U vide"]);
    let description = Description::read(&sdp).unwrap();
    assert_eq!(description.credentials(0), Some(IceCredentials { ufrag: "sess", pwd: PWD }));
    assert_eq!(description.credentials(1), Some(IceCredentials { ufrag: "vide", pwd: PWD }));
    assert_eq!(description.transports().collect::<Vec<_>>(), [0, 1]);

    let shown = show(&sdp, &[Some(("E1", "e1")), Some(("E2", "e2"))], false);
    let read = shown.replace(&format!("a={EDGE}\r\na=end-of-candidates\r\n"), "");
    assert_eq!(
        read,
        "v=0\r\na=ice-ufrag:E1\r\na=ice-pwd:e1\r\nm=audio 9 X 0\r\nm=video 9 X 0\r\na=ice-ufrag:E2\r\na=ice-pwd:e2\r\n"
    );
}

#[test]
fn a_rejected_m_section_gets_no_candidate_and_loses_its_own() {
    let sdp = sdp(&[
        "m=audio 9 X 0",
        "U abcd",
        "P",
        "m=video 0 X 0",
        "U abcd",
        "P",
        "a=candidate:1 1 udp 1 10.0.0.1 5 typ host",
    ]);
    let shown = show(&sdp, &[Some(("E1", "e1")), None], false);
    assert_eq!(shown.matches(EDGE).count(), 1);
    assert!(shown.ends_with("m=video 0 X 0\r\na=ice-ufrag:E1\r\na=ice-pwd:e1\r\n"), "{shown}");
}

#[test]
fn a_bundle_only_m_section_is_not_rejected() {
    let lines = [
        "a=group:BUNDLE 0 1",
        "m=audio 9 X 0",
        "a=mid:0",
        "U abcd",
        "P",
        "m=video 0 X 0",
        "a=mid:1",
        "a=bundle-only",
    ];
    let sdp = sdp(&lines);
    let description = Description::read(&sdp).unwrap();
    assert!(!description.sections[1].rejected);
    assert_eq!(description.sections[1].tag, 0);
    assert_eq!(description.credentials(1).unwrap().ufrag, "abcd");
    assert_eq!(show(&sdp, &[Some(("E1", "e1")); 2], false).matches(EDGE).count(), 2);
}

#[test]
fn a_bundle_group_shares_the_transport_of_its_first_accepted_member() {
    let section = |mid, port| {
        vec![format!("m=audio {port} X 0"), format!("a=mid:{mid}"), format!("U uf{mid}x"), "P".to_owned()]
    };
    let groups = vec!["a=group:BUNDLE b c d".to_owned(), "a=group:LS a b".to_owned()];
    let all = [groups, section("a", 9), section("b", 0), section("c", 9), section("d", 9)].concat();
    let sdp = sdp(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let description = Description::read(&sdp).unwrap();
    assert_eq!(description.sections.iter().map(|it| it.tag).collect::<Vec<_>>(), [0, 1, 2, 2]);
    assert_eq!(description.transports().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn an_unusable_description_is_told_by_line() {
    let audio = "m=audio 9 X 0";
    for (lines, error) in [
        (vec![audio], SdpError::NoUfrag(2)),
        (vec!["a=x", audio, "U abcd"], SdpError::NoPwd(3)),
        (vec![audio, "P"], SdpError::NoUfrag(2)),
        (vec![audio, "U abc"], SdpError::BadUfrag(3)),
        (vec![audio, "U ab cd"], SdpError::BadUfrag(3)),
        (vec![audio, "U ab:cd"], SdpError::BadUfrag(3)),
        (vec![audio, "U abcd", "P short"], SdpError::BadPwd(4)),
    ] {
        assert_eq!(Description::read(&sdp(&lines)).unwrap_err(), error, "{lines:?}");
    }
    assert_eq!(Description::read("hello").unwrap_err(), SdpError::NoVersion);
    assert_eq!(Description::read("").unwrap_err(), SdpError::NoVersion);
    let long = format!("v=0\r\n{}", "a".repeat(MAX_BYTES));
    assert_eq!(Description::read(&long).unwrap_err(), SdpError::TooLarge(MAX_BYTES + 5));
    let many = sdp(&vec!["m=audio 0 X 0"; MAX_SECTIONS + 1]);
    assert_eq!(Description::read(&many).unwrap_err(), SdpError::TooManySections(MAX_SECTIONS + 2));
    let mut unbundled = vec!["U abcd", "P"];
    unbundled.extend(vec![audio; MAX_TRANSPORTS + 1]);
    assert_eq!(
        Description::read(&sdp(&unbundled)).unwrap_err(),
        SdpError::TooManyTransports(MAX_TRANSPORTS + 4)
    );
}

#[test]
fn an_error_never_shows_a_password() {
    let secret = "s3cr3t";
    let error = Description::read(&sdp(&["m=audio 9 X 0", "U abcd", &format!("P {secret}")])).unwrap_err();
    assert!(!error.to_string().contains(secret));
}

#[test]
fn candidates_beyond_the_limit_are_left_out_and_unreadable_ones_ignored() {
    let mut lines = vec!["m=audio 9 X 0", "U abcd", "P", "a=candidate:what"];
    lines.extend(vec!["a=candidate:1 1 udp 1 10.0.0.1 5 typ host"; MAX_CANDIDATES + 9]);
    let sdp = sdp(&lines);
    assert_eq!(Description::read(&sdp).unwrap().candidates.len(), MAX_CANDIDATES);
    assert!(!show(&sdp, &[], false).contains("10.0.0.1"));
}

#[test]
fn the_edge_lines_are_candidates_themselves() {
    assert!(Candidate::parse(EDGE).unwrap().addr().is_some());
}

#[test]
fn hostile_bytes_neither_panic_nor_smuggle_a_candidate() {
    let (_, sample) = captured().into_iter().find(|(name, _)| name.contains("allcands-http-2")).unwrap();
    let values = [0, b'\r', b'\n', b' ', b'=', b':', b'm', b'A', b'0', 0xff];
    crate::hostile::sweep(sample.as_bytes(), &values, fuzz);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(data: Vec<u8>) {
        fuzz(&data);
    }

    #[test]
    fn any_lines_are_survived(lines in proptest::collection::vec("(a=(ice-ufrag|ice-pwd|mid|group|candidate|ice-lite|bundle-only)(:[ -~]{0,30})?|m=[ -~]{0,12}|[a-z]=[ -~]{0,20})(\r\n|\n|\r|)", 0..40)) {
        fuzz(format!("v=0\r\n{}", lines.concat()).as_bytes());
    }
}
