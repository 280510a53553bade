//! \[pure\] From what was seen to what it means: the cause of a path, of a call, of the whole run, each with what to do.
//!
//! It sees facts only, so each of its sentences has a test that needs no network.

use super::call::End;
use super::cause::{Cause, Fault};
use super::facts::{Attempt, AttemptState, Call, Media, PathFacts, PathState, Scope, Transport};
use super::journal::clean;

/// Most candidates that one sentence names.
const MOST_NAMED: usize = 3;

/// Where signalling was reached, as far as it explains candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Its address.
    pub(super) address: &'a str,
    /// Where that is valid.
    pub(super) scope: Scope,
}

/// Why none of `paths` answers.
pub(super) fn no_path(transport: Transport, paths: &[PathFacts], place: Place<'_>) -> Fault {
    let has = |state| paths.iter().find(|path| path.state == state);
    let told = listed(transport, paths);
    if let Some(path) = has(PathState::CheckRefused) {
        let said = path.detail.as_deref().unwrap_or("an error");
        return Fault::new(
            Cause::CheckRefused,
            format!(
                "{} {}: answers STUN with {said} instead of taking our credentials",
                transport.name(),
                path.candidate
            ),
            "whoever listens there does not know this session: does the address belong to this edge or Janus, and does the answer reach the client unchanged?",
        );
    }
    if let Some(path) = has(PathState::CheckForeign) {
        return Fault::new(
            Cause::CheckForeign,
            format!(
                "{} {}: answers STUN, but not with this session's password",
                transport.name(),
                path.candidate
            ),
            "some other STUN server listens there: correct candidate_ips or the port",
        );
    }
    if let Some(path) = has(PathState::Silent) {
        return silent(transport, path, &told, place);
    }
    if let Some(path) = has(PathState::Refused) {
        return Fault::new(Cause::PortRefused, told, fix_of_refused(transport, path, place));
    }
    if has(PathState::NoAddress).is_some() {
        return Fault::new(
            Cause::CandidateName,
            told,
            "publish addresses (`candidate_ips`; mDNS off in Janus), not names",
        );
    }
    let fix = "this machine has no way to that address: publish one that clients reach (`candidate_ips`), or probe from elsewhere";
    Fault::new(Cause::NoRoute, told, fix)
}

fn fix_of_refused(transport: Transport, path: &PathFacts, place: Place<'_>) -> String {
    let (carrier, port) = (transport_of(transport), port(path));
    if path.same_address_as_signalling {
        return format!(
            "nothing listens on {carrier} {port} (or a firewall rejects it): start it, open it, or correct the port that is published"
        );
    }
    format!(
        "is that the address that clients reach? Signalling was reached at {}: correct candidate_ips (or nat_1_1_mapping in Janus); if it is right, nothing listens on {carrier} {port} there, or a firewall rejects it",
        place.address
    )
}

fn silent(transport: Transport, path: &PathFacts, told: &str, place: Place<'_>) -> Fault {
    let port = port(path);
    let carrier = transport_of(transport);
    let private = matches!(path.scope, Scope::Private | Scope::Loopback | Scope::LinkLocal);
    if private && place.scope == Scope::Public {
        return Fault::new(
            Cause::CandidatePrivate,
            format!(
                "{told}; that address is {}, and signalling was reached at {}",
                scope_name(path.scope),
                place.address
            ),
            format!(
                "publish the address that clients reach: candidate_ips: [{}] at the edge, nat_1_1_mapping in Janus",
                place.address
            ),
        );
    }
    if !path.same_address_as_signalling {
        return Fault::new(
            Cause::CandidateElsewhere,
            format!("{told}; that is not the address that signalling was reached at ({})", place.address),
            format!(
                "is it the address that clients reach? Correct candidate_ips (or nat_1_1_mapping in Janus); if it is right, open {carrier} {port} in the firewall"
            ),
        );
    }
    Fault::new(
        Cause::PortSilent,
        told,
        format!("open {carrier} {port} in the firewall, and check that the edge listens there"),
    )
}

/// "UDP 10.0.0.1:6001: no answer to 7 checks", for each of them.
fn listed(transport: Transport, paths: &[PathFacts]) -> String {
    let named = paths.iter().filter(|path| path.state != PathState::Skipped);
    let mut told: Vec<String> = named
        .take(MOST_NAMED)
        .map(|path| format!("{} {}: {}", transport.name(), path.candidate, outcome(path)))
        .collect();
    if paths.len() > MOST_NAMED {
        told.push(format!("{} more", paths.len() - MOST_NAMED));
    }
    told.join("; ")
}

/// What came of one path, in words.
pub(super) fn outcome(path: &PathFacts) -> String {
    let detail = path.detail.as_deref();
    match path.state {
        PathState::Answers => format!("{} of {} checks answered", path.checks_answered, path.checks_sent),
        PathState::Silent if path.checks_sent == 0 => detail.unwrap_or("no answer").to_owned(),
        PathState::Silent => format!("no answer to {} checks", path.checks_sent),
        PathState::Refused if path.checks_sent > 0 && detail.is_none() => {
            "refused, the host says that nobody listens there (ICMP port unreachable)".to_owned()
        }
        PathState::Refused => detail.unwrap_or("refused").to_owned(),
        PathState::NoRoute => detail.unwrap_or("no route there").to_owned(),
        PathState::CheckRefused => format!("answered with {}", detail.unwrap_or("an error")),
        PathState::CheckForeign => "answered by somebody without this session's password".to_owned(),
        PathState::NoTls => detail.unwrap_or("no TLS").to_owned(),
        PathState::NoAddress => detail.unwrap_or("a name without an address").to_owned(),
        PathState::Skipped => "not tried".to_owned(),
    }
}

fn port(path: &PathFacts) -> &str {
    path.candidate.rsplit(':').next().unwrap_or_default()
}

/// What a firewall knows it as.
fn transport_of(transport: Transport) -> &'static str {
    if transport == Transport::Udp { "UDP" } else { "TCP" }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Public => "public",
        Scope::Private => "private",
        Scope::Loopback => "of the server itself (loopback)",
        Scope::LinkLocal => "link-local",
        Scope::Unusable => "one that nobody can use",
        Scope::Name => "a name",
    }
}

/// What is wrong with a call; `announced`: the fingerprint of the answer. `echo`: whether media should have come back.
pub(super) fn call_fault(
    transport: Transport,
    end: &End,
    call: &Call,
    announced: Option<&str>,
    echo: bool,
) -> Option<Fault> {
    let at = format!("{} {}", transport.name(), call.candidate);
    match end {
        End::NoPair => Some(Fault::new(
            Cause::IceFailed,
            format!("{at}: checks are answered, and yet no pair is nominated"),
            "report this with the output of --json; meanwhile look at the log of who answers there",
        )),
        End::NoDtls => Some(no_dtls(&at, call)),
        End::Fingerprint => Some(Fault::new(
            Cause::DtlsFingerprint,
            format!(
                "{at}: DTLS is answered with another certificate than the answer announces ({} instead of {})",
                call.fingerprint.as_deref().map_or("unknown".to_owned(), short),
                announced.map_or("none".to_owned(), short),
            ),
            "media reaches another server than signalling, or somebody sits in between: check the upstream and what the candidates point to",
        )),
        End::DtlsRefused(reason) => Some(Fault::new(
            Cause::DtlsFailed,
            format!("{at}: the DTLS handshake fails: {reason}"),
            "look at the media server's log",
        )),
        End::HungUp(reason) | End::Broken(reason) if call.dtls_ms.is_none() => {
            let (cause, step) = match call.ice_ms {
                None => (Cause::IceFailed, "before ICE was done"),
                Some(_) => (Cause::DtlsFailed, "before DTLS was done"),
            };
            Some(Fault::new(cause, format!("{at}: ended {step}: {reason}"), "look at the media server's log"))
        }
        End::HungUp(reason) | End::Broken(reason) => Some(Fault::new(
            Cause::MediaSilent,
            format!("{at}: connected, then ended: {reason}"),
            "look at the media server's log",
        )),
        End::Done if echo => media_fault(&at, call),
        End::Done => None,
    }
}

fn no_dtls(at: &str, call: &Call) -> Fault {
    if call.dtls_packets_in == 0 {
        return Fault::new(
            Cause::DtlsSilent,
            format!("{at}: answers STUN, but no DTLS comes back from the media server"),
            "the leg behind the edge is broken: can the edge reach Janus' rtp_port_range by UDP, and Janus the edge?",
        );
    }
    Fault::new(
        Cause::DtlsStuck,
        format!(
            "{at}: DTLS begins and does not end ({} packets came, {} left)",
            call.dtls_packets_in, call.dtls_packets_out
        ),
        "large packets may be lost on the way: check the MTU, tunnels and fragments; else look at the media server's log",
    )
}

fn media_fault(at: &str, call: &Call) -> Option<Fault> {
    let kinds = [("audio", &call.audio), ("video", &call.video)];
    let tried: Vec<_> = kinds.into_iter().filter(|(_, media)| media.negotiated && media.sent > 0).collect();
    let lost: Vec<_> = tried.iter().filter(|(_, media)| media.returned == 0).collect();
    if !tried.is_empty() && lost.len() == tried.len() {
        return Some(nothing_back(at, &tried));
    }
    if let [(name, media), ..] = lost[..] {
        return Some(Fault::new(
            Cause::MediaPartial,
            format!("{at}: {name} does not come back (0 of {}), the rest does", media.sent),
            "are large packets lost (MTU)? Does the plugin echo this kind?",
        ));
    }
    if let Some((name, media)) = tried.iter().find(|(_, media)| media.returned * 10 < media.sent * 9) {
        return Some(Fault::new(
            Cause::MediaLossy,
            format!("{at}: {} of {} {name} frames came back", media.returned, media.sent),
            "the network loses packets: probe from the edge as well, to see on which side of it",
        ));
    }
    data_fault(at, call)
}

fn nothing_back(at: &str, tried: &[(&str, &Media)]) -> Fault {
    let sent: u32 = tried.iter().map(|(_, media)| media.sent).sum();
    if tried.iter().any(|(_, media)| media.server_receives == Some(true)) {
        return Fault::new(
            Cause::MediaOneWay,
            format!(
                "{at}: connected, the media server receives our media, and none of {sent} frames came back"
            ),
            "media passes only towards the server: does the plugin echo, and may the way back carry UDP of that size?",
        );
    }
    Fault::new(
        Cause::MediaSilent,
        format!(
            "{at}: connected, and none of {sent} frames came back; the media server does not say that it receives any"
        ),
        "does the plugin echo (--plugin)? Else look at the media server's log",
    )
}

fn data_fault(at: &str, call: &Call) -> Option<Fault> {
    let data = &call.data;
    let what = match data {
        data if !data.offered || data.returned > 0 => return None,
        data if !data.negotiated => "the answer rejects the data channel",
        data if !data.opened => "the data channel does not open",
        _ => "no message came back over the data channel",
    };
    Some(Fault::new(
        Cause::DataMissing,
        format!("{at}: audio and video work, {what}"),
        "is Janus built with data channels (usrsctp)? Without need for them nothing is to be done",
    ))
}

fn short(fingerprint: &str) -> String {
    let clean = clean(fingerprint);
    let mut short: String = clean.chars().take(19).collect();
    if short.len() < clean.len() {
        short.push('…');
    }
    short
}

/// The whole run, from its attempts: at least one.
pub(super) fn overall(attempts: &[Attempt], echo: bool) -> Fault {
    let works: Vec<_> = attempts.iter().filter(|attempt| attempt.state == AttemptState::Works).collect();
    let failed: Vec<_> = attempts.iter().filter(|attempt| attempt.state == AttemptState::Failed).collect();
    match (&works[..], &failed[..]) {
        ([], []) => not_offered(attempts),
        ([], _) => furthest(&failed),
        (works, []) => Fault::new(Cause::Works, praise(works, echo), ""),
        (works, failed) => degraded(works, failed),
    }
}

fn not_offered(attempts: &[Attempt]) -> Fault {
    let named: Vec<_> = attempts.iter().map(|attempt| attempt.transport.name()).collect();
    let told = attempts.iter().rev().find_map(|attempt| attempt.fault.clone());
    told.unwrap_or_else(|| {
        Fault::new(
            Cause::TransportNotOffered,
            format!("the server offers nothing over {}", named.join(" or ")),
            "try --transport all; the edge offers TCP where a service has `proto: tcp` and `enable_ice`",
        )
    })
}

/// Of several failures, the one of the attempt that came furthest tells most.
fn furthest(failed: &[&Attempt]) -> Fault {
    let faults = failed.iter().filter_map(|attempt| attempt.fault.as_ref());
    let best = faults.rev().max_by_key(|fault| fault.cause.exit_code()).cloned();
    let mut fault =
        best.unwrap_or_else(|| Fault::new(Cause::IceFailed, "nothing works", "look at the steps"));
    let others = failed.iter().filter_map(|attempt| attempt.fault.as_ref());
    for other in
        others.filter(|other| other.message != fault.message).take(MOST_NAMED).cloned().collect::<Vec<_>>()
    {
        fault.message = format!("{}; {}", fault.message, other.message);
    }
    fault
}

fn praise(works: &[&Attempt], echo: bool) -> String {
    let named = and(&works.iter().map(|attempt| attempt.transport.name()).collect::<Vec<_>>());
    let verb = if works.len() == 1 { "works" } else { "work" };
    let Some(call) = works.iter().find_map(|attempt| attempt.call.as_ref()) else {
        return format!("{named} {verb}");
    };
    let mut kinds = Vec::new();
    for (name, there) in
        [("audio", call.audio.negotiated), ("video", call.video.negotiated), ("data", call.data.negotiated)]
    {
        kinds.extend(there.then_some(name));
    }
    match echo {
        true => format!("{named} {verb}: {} come back", and(&kinds)),
        false => format!(
            "{named} {verb}: {} can be published (WHIP echoes nothing, so what viewers get was not tried)",
            and(&kinds)
        ),
    }
}

fn degraded(works: &[&Attempt], failed: &[&Attempt]) -> Fault {
    let mut told: Vec<String> =
        failed.iter().filter_map(|attempt| Some(attempt.fault.as_ref()?.message.clone())).collect();
    let well: Vec<_> = works.iter().map(|attempt| attempt.transport.name()).collect();
    let verb = if well.len() == 1 { "works" } else { "work" };
    let at = works
        .iter()
        .find_map(|attempt| attempt.call.as_ref())
        .map_or(String::new(), |call| format!(" at {}", call.candidate));
    told.push(format!("{}{at} {verb}", and(&well)));
    let fix = failed.iter().find_map(|attempt| attempt.fault.as_ref()).map_or("", |fault| &fault.fix);
    Fault::new(Cause::Degraded, told.join("; "), format!("{fix}; or expect {} alone", and(&well)))
}

fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
