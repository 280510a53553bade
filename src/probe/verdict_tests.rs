//! Each sentence of the verdict, from facts alone.

use super::call::End;
use super::cause::{Cause, Fault};
use super::facts::*;
use super::verdict::*;

const PUBLIC: Place<'static> = Place { address: "198.51.100.7", scope: Scope::Public };

fn path(state: PathState) -> PathFacts {
    PathFacts {
        candidate: "198.51.100.7:6001".to_owned(),
        kind: "host",
        scope: Scope::Public,
        same_address_as_signalling: true,
        browsers: None,
        checks_sent: 7,
        checks_answered: 0,
        rtt_ms: None,
        connect_ms: None,
        state,
        detail: None,
    }
}

fn cause_of(path: PathFacts) -> Cause {
    no_path(Transport::Udp, &[path], PUBLIC).cause
}

#[test]
fn a_silent_port_of_the_right_address_is_a_firewall() {
    let fault = no_path(Transport::Udp, &[path(PathState::Silent)], PUBLIC);
    assert_eq!(fault.cause, Cause::PortSilent);
    assert_eq!(fault.message, "UDP 198.51.100.7:6001: no answer to 7 checks");
    assert!(fault.fix.contains("open UDP 6001"), "{}", fault.fix);
}

#[test]
fn a_silent_address_elsewhere_is_named_with_the_key_that_publishes_it() {
    let elsewhere = PathFacts { same_address_as_signalling: false, ..path(PathState::Silent) };
    let fault = no_path(Transport::Udp, std::slice::from_ref(&elsewhere), PUBLIC);
    assert_eq!(fault.cause, Cause::CandidateElsewhere);
    assert!(fault.fix.contains("candidate_ips"), "{}", fault.fix);

    let private = PathFacts { candidate: "10.0.0.5:6001".to_owned(), scope: Scope::Private, ..elsewhere };
    let fault = no_path(Transport::Udp, std::slice::from_ref(&private), PUBLIC);
    assert_eq!(fault.cause, Cause::CandidatePrivate);
    assert!(fault.fix.contains("candidate_ips: [198.51.100.7]"), "{}", fault.fix);
    // Where signalling is private as well, a private address is what one expects.
    let fault = no_path(Transport::Udp, &[private], Place { address: "10.0.0.4", scope: Scope::Private });
    assert_eq!(fault.cause, Cause::CandidateElsewhere);
}

#[test]
fn refusal_silence_and_strangers_are_told_apart() {
    let fault = no_path(Transport::Udp, &[path(PathState::Refused)], PUBLIC);
    assert!(
        fault.cause == Cause::PortRefused && fault.fix.starts_with("nothing listens on UDP 6001"),
        "{fault:?}"
    );
    // A router says the same of an address that nobody has.
    let elsewhere = PathFacts { same_address_as_signalling: false, ..path(PathState::Refused) };
    let fault = no_path(Transport::Udp, &[elsewhere], PUBLIC);
    assert!(fault.cause == Cause::PortRefused && fault.fix.contains("correct candidate_ips"), "{fault:?}");
    assert_eq!(cause_of(path(PathState::NoRoute)), Cause::NoRoute);
    assert_eq!(cause_of(path(PathState::NoAddress)), Cause::CandidateName);
    assert_eq!(cause_of(path(PathState::CheckForeign)), Cause::CheckForeign);
    let refused =
        PathFacts { detail: Some("STUN 401 Unauthorized".to_owned()), ..path(PathState::CheckRefused) };
    let fault = no_path(Transport::Udp, &[refused, path(PathState::Silent)], PUBLIC);
    assert_eq!(fault.cause, Cause::CheckRefused, "who answers tells more than who does not");
    assert!(fault.message.contains("STUN 401"), "{}", fault.message);
}

#[test]
fn many_candidates_make_no_long_sentence() {
    let paths: Vec<_> = (0..8).map(|_| path(PathState::Silent)).collect();
    let fault = no_path(Transport::Udp, &paths, PUBLIC);
    assert_eq!(fault.message.matches("no answer").count(), 3);
    assert!(fault.message.ends_with("5 more"), "{}", fault.message);
}

fn media(returned: u32) -> Media {
    Media { negotiated: true, sent: 50, returned, ..Media::default() }
}

fn call() -> Call {
    Call {
        candidate: "198.51.100.7:6001".to_owned(),
        ice_ms: Some(1.0),
        dtls_ms: Some(2.0),
        audio: media(50),
        video: media(50),
        data: Data { offered: true, negotiated: true, opened: true, sent: 5, returned: 5, rtt_ms: None },
        ..Call::default()
    }
}

fn fault(end: &End, call: &Call) -> Option<Fault> {
    call_fault(Transport::Udp, end, call, Some("sha-256 AA:BB"), true)
}

fn cause(end: &End, call: &Call) -> Option<Cause> {
    fault(end, call).map(|fault| fault.cause)
}

#[test]
fn a_call_with_everything_back_has_no_fault() {
    assert_eq!(cause(&End::Done, &call()), None);
    let published = Call { audio: media(0), video: media(0), data: Data::default(), ..call() };
    assert_eq!(call_fault(Transport::Udp, &End::Done, &published, None, false), None);
}

#[test]
fn silence_in_dtls_is_the_leg_behind_the_edge() {
    let silent = Call { dtls_ms: None, dtls_packets_out: 3, ..call() };
    let told = fault(&End::NoDtls, &silent).unwrap();
    assert_eq!(told.cause, Cause::DtlsSilent);
    assert!(told.message.contains("answers STUN, but no DTLS comes back"), "{}", told.message);
    let stuck = Call { dtls_packets_in: 2, ..silent };
    assert_eq!(cause(&End::NoDtls, &stuck), Some(Cause::DtlsStuck));
}

#[test]
fn another_certificate_is_named_with_both_fingerprints() {
    let other = Call { fingerprint: Some("sha-256 CC:DD".to_owned()), dtls_ms: None, ..call() };
    let told = fault(&End::Fingerprint, &other).unwrap();
    assert_eq!(told.cause, Cause::DtlsFingerprint);
    assert!(told.message.contains("CC:DD") && told.message.contains("AA:BB"), "{}", told.message);
}

#[test]
fn an_early_end_is_told_by_the_step_it_ends() {
    let end = End::HungUp("ICE failed".to_owned());
    assert_eq!(cause(&end, &Call { ice_ms: None, dtls_ms: None, ..call() }), Some(Cause::IceFailed));
    assert_eq!(cause(&end, &Call { dtls_ms: None, ..call() }), Some(Cause::DtlsFailed));
    assert_eq!(cause(&end, &call()), Some(Cause::MediaSilent));
    assert_eq!(cause(&End::NoPair, &call()), Some(Cause::IceFailed));
}

#[test]
fn media_is_told_by_what_is_missing() {
    let silent = Call { audio: media(0), video: media(0), ..call() };
    assert_eq!(cause(&End::Done, &silent), Some(Cause::MediaSilent));
    let received = Media { server_receives: Some(true), ..media(0) };
    assert_eq!(cause(&End::Done, &Call { audio: received, ..silent }), Some(Cause::MediaOneWay));
    assert_eq!(cause(&End::Done, &Call { video: media(0), ..call() }), Some(Cause::MediaPartial));
    assert_eq!(cause(&End::Done, &Call { audio: media(44), ..call() }), Some(Cause::MediaLossy));
    assert_eq!(cause(&End::Done, &Call { audio: media(45), ..call() }), None);
    let rejected = Data { offered: true, ..Data::default() };
    assert_eq!(cause(&End::Done, &Call { data: rejected, ..call() }), Some(Cause::DataMissing));
}

fn attempt(transport: Transport, state: AttemptState, fault: Option<Fault>) -> Attempt {
    let call =
        (state == AttemptState::Works).then(|| Call { candidate: "198.51.100.7:443".to_owned(), ..call() });
    Attempt { transport, state, fault, paths: Vec::new(), call }
}

#[test]
fn what_works_in_part_names_both_and_what_to_do() {
    let silent = no_path(Transport::Udp, &[path(PathState::Silent)], PUBLIC);
    let attempts = [
        attempt(Transport::Udp, AttemptState::Failed, Some(silent)),
        attempt(Transport::Tcp, AttemptState::Works, None),
        attempt(Transport::Tls, AttemptState::NotOffered, None),
    ];
    let verdict = overall(&attempts, true);
    assert_eq!(verdict.cause, Cause::Degraded);
    assert_eq!(
        verdict.message,
        "UDP 198.51.100.7:6001: no answer to 7 checks; TCP at 198.51.100.7:443 works"
    );
    assert!(
        verdict.fix.starts_with("open UDP 6001") && verdict.fix.ends_with("or expect TCP alone"),
        "{}",
        verdict.fix
    );
}

#[test]
fn of_several_failures_the_furthest_is_the_verdict() {
    let silent = no_path(Transport::Udp, &[path(PathState::Silent)], PUBLIC);
    let dtls = fault(&End::NoDtls, &Call { dtls_ms: None, ..call() });
    let attempts = [
        attempt(Transport::Udp, AttemptState::Failed, Some(silent)),
        attempt(Transport::Tcp, AttemptState::Failed, dtls),
    ];
    let verdict = overall(&attempts, true);
    assert_eq!(verdict.cause, Cause::DtlsSilent);
    assert!(verdict.message.contains("no answer to 7 checks"), "{}", verdict.message);
}

#[test]
fn all_that_is_offered_is_enough() {
    let attempts = [
        attempt(Transport::Udp, AttemptState::Works, None),
        attempt(Transport::Tcp, AttemptState::NotOffered, None),
    ];
    let verdict = overall(&attempts, true);
    assert_eq!(
        (verdict.cause, verdict.message.as_str()),
        (Cause::Works, "UDP works: audio, video and data come back")
    );
    assert!(overall(&attempts, false).message.contains("WHIP echoes nothing"));
    assert_eq!(overall(&attempts[1..], true).cause, Cause::TransportNotOffered);
}
