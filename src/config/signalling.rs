//! \[pure\] `signalling:` of a route: rooms that the edge serves itself. Each key counts with some protocols; with another one
//! it is a warning.

use std::num::NonZeroU32;
use std::time::Duration;

use super::auth::{Auth, Secret, auth};
use super::durations::{A_DURATION, A_SIZE, size, timeout};
use super::live::{LiveRules, live};
use super::routes::Inherited;
use super::section::{Findings, Section, join};
use super::urls::server_url;
use super::{PathRule, ServerUrl, addr};

/// Rooms on a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// Bounds that every protocol has.
    pub limits: RoomLimits,
    /// The protocol, with what only it has.
    pub rules: RoomRules,
}

/// Bounds of the rooms of a route. 0: none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// `max_message`: largest message after reassembly, bytes, default 64 KiB.
    pub message: usize,
    /// `max_peers`: in one room, default 0; 8 for `live`.
    pub peers: usize,
    /// `max_rooms`, default 0.
    pub rooms: usize,
    /// `max_connects`: connections per second of one client address, default none.
    pub connects: Option<NonZeroU32>,
    /// `max_queue`: messages that wait for one client, default 1024; 8192 for `live`.
    pub queue: usize,
}

/// A protocol, with what only it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomRules {
    /// `webrtc-server`
    WebrtcServer(WebrtcServerRules),
    /// `blueprints`
    Blueprints(BlueprintsRules),
    /// `gst`
    Gst(GstRules),
    /// `webrtcsink`
    Webrtcsink(GstRules),
    /// `live`
    Live(Box<LiveRules>),
}

/// `protocol: webrtc-server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebrtcServerRules {
    /// `auth`.
    pub auth: Auth,
    /// `auth_timeout`, default 5 s.
    pub auth_timeout: Duration,
    /// `idle_timeout`, default 60 s; `None`: `infinity`.
    pub idle_timeout: Option<Duration>,
    /// `webhook`: told of joins and leaves.
    pub webhook: Option<RoomWebhook>,
}

/// Who is told of joins and leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomWebhook {
    /// `webhook.url`.
    pub url: ServerUrl,
    /// `webhook.secret`: signs what is sent.
    pub secret: Option<Secret>,
}

/// `protocol: blueprints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlueprintsRules {
    /// `token`, in the query.
    pub token: Option<Secret>,
    /// `keepalive_timeout`: between two pings, default 30 s.
    pub keepalive: Duration,
    /// `turn`: credentials that clients get along with their room.
    pub turn: Option<TurnCredentials>,
}

/// TURN credentials to hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnCredentials {
    /// `turn.url`, as clients write it.
    pub url: String,
    /// `turn.secret`, one of the `secrets` of the TURN service.
    pub secret: Secret,
    /// `turn.lifetime`, default 60 s.
    pub lifetime: Duration,
}

/// `protocol: gst` and `protocol: webrtcsink`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GstRules {
    /// `token`, in the query.
    pub token: Option<Secret>,
    /// `keepalive_timeout`: silence before a ping, default 30 s.
    pub keepalive: Duration,
    /// `health`: a path that answers 200, default `/health`; `None` where it is empty.
    pub health: Option<String>,
}

impl RoomRules {
    /// The name of the protocol, as in the file and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            RoomRules::WebrtcServer(_) => "webrtc-server",
            RoomRules::Blueprints(_) => "blueprints",
            RoomRules::Gst(_) => "gst",
            RoomRules::Webrtcsink(_) => "webrtcsink",
            RoomRules::Live(_) => "live",
        }
    }
}

const PROTOCOLS: [&str; 5] = ["webrtc-server", "blueprints", "live", "gst", "webrtcsink"];
/// Room for the fragments of a few messages and no more: 64 KiB times a thousand slow clients.
const MESSAGE: usize = 64 << 10;
const QUEUE: usize = 1024;
/// Peers and queue that clients of `live` know from the original.
const LIVE_LIMITS: (usize, usize) = (8, 8192);
/// More than this fits no queue either.
const LARGEST_MESSAGE: usize = 16 << 20;

/// Keys and the protocols that they count with; those that are missing here count with all.
const OF_PROTOCOLS: &[(&str, &[&str])] = &[
    ("auth", &["webrtc-server", "live"]),
    ("auth_timeout", &["webrtc-server"]),
    ("idle_timeout", &["webrtc-server"]),
    ("webhook", &["webrtc-server"]),
    ("max_peers", &["webrtc-server", "live", "gst", "webrtcsink"]),
    ("keepalive_timeout", &["blueprints", "gst", "webrtcsink"]),
    ("token", &["blueprints", "gst", "webrtcsink"]),
    ("turn", &["blueprints"]),
    ("health", &["gst", "webrtcsink"]),
    ("jwt_secret", &["live"]),
    ("mode", &["live"]),
    ("upstream", &["live"]),
    ("events", &["live"]),
    ("video", &["live"]),
    ("reconnect_timeout", &["live"]),
    ("janus", &["live"]),
    ("rooms", &["live"]),
];

/// Reads `signalling:`; `None` where it cannot be served, which was reported.
pub(super) fn signalling(
    section: &Section<'_>,
    inherited: &Inherited<'_>,
    findings: &mut Findings,
) -> Option<Signalling> {
    let named = |text: &str| PROTOCOLS.into_iter().find(|known| *known == text);
    let protocol =
        section.require(findings, "protocol", "webrtc-server, blueprints, live, gst or webrtcsink", named)?;
    warn_of_other_protocols(section, protocol, findings);
    let limits = limits(section, protocol, findings);
    let rules = match protocol {
        "webrtc-server" => RoomRules::WebrtcServer(webrtc_server(section, findings)),
        "blueprints" => RoomRules::Blueprints(blueprints(section, findings)),
        "gst" => RoomRules::Gst(gst(section, findings)),
        "webrtcsink" => RoomRules::Webrtcsink(gst(section, findings)),
        _ => RoomRules::Live(Box::new(live(section, inherited, findings))),
    };
    Some(Signalling { limits, rules })
}

/// Where a route with rooms is found when the file does not say: where the original servers are.
pub(super) fn usual_paths(signalling: &Signalling) -> Vec<PathRule> {
    let paths: &[&str] = match signalling.rules {
        RoomRules::WebrtcServer(_) => &["/websocket"],
        RoomRules::Blueprints(_) => &["/", "/signaling"],
        RoomRules::Gst(_) | RoomRules::Webrtcsink(_) => &["/"],
        RoomRules::Live(_) => &["/api"],
    };
    paths.iter().map(|path| PathRule { prefix: (*path).to_owned(), replacement: None }).collect()
}

fn warn_of_other_protocols(section: &Section<'_>, protocol: &str, findings: &mut Findings) {
    for (key, protocols) in OF_PROTOCOLS {
        if section.item(key).is_some() && !protocols.contains(&protocol) {
            let message = format!("has no effect with protocol: {protocol}");
            findings.warn(section.place(key), &join(&section.path, key), message);
        }
    }
}

fn limits(section: &Section<'_>, protocol: &str, findings: &mut Findings) -> RoomLimits {
    let (usual_peers, usual_queue) = if protocol == "live" { LIVE_LIMITS } else { (0, QUEUE) };
    const A_COUNT: &str = "a whole number, 0 for no limit";
    let a_message = |text: &str| size(text).filter(|size| *size <= LARGEST_MESSAGE);
    let mut count = |key, usual| section.read(findings, key, A_COUNT, addr::number).unwrap_or(usual);
    let (peers, rooms) = (count("max_peers", usual_peers), count("max_rooms", 0));
    let connects = count("max_connects", 0);
    let at_least_one = |text: &str| addr::number(text).filter(|count| *count > 0);
    RoomLimits {
        message: section.read(findings, "max_message", A_SIZE, a_message).unwrap_or(MESSAGE),
        peers,
        rooms,
        connects: NonZeroU32::new(u32::try_from(connects).unwrap_or(u32::MAX)),
        queue: section
            .read(findings, "max_queue", "a whole number, 1 or more", at_least_one)
            .unwrap_or(usual_queue),
    }
}

fn webrtc_server(section: &Section<'_>, findings: &mut Findings) -> WebrtcServerRules {
    let before = findings.0.len();
    let auth = auth(section, findings);
    // Where something in it cannot be read, that is said already.
    if auth.is_empty() && findings.0.len() == before {
        let message =
            "expected auth with users, password, secrets or webhook, found none; nobody could log in";
        findings.error(section.place("auth"), &join(&section.path, "auth"), message);
    }
    const A_SILENCE: &str = "a duration such as 60s, or infinity";
    let silence = |text: &str| if text == "infinity" { Some(None) } else { timeout(text).map(Some) };
    let usual = Some(Duration::from_secs(60));
    WebrtcServerRules {
        auth,
        auth_timeout: time(section, findings, "auth_timeout", Duration::from_secs(5)),
        idle_timeout: section.read(findings, "idle_timeout", A_SILENCE, silence).unwrap_or(usual),
        webhook: webhook(section, findings),
    }
}

pub(super) fn webhook(section: &Section<'_>, findings: &mut Findings) -> Option<RoomWebhook> {
    let webhook = section.section(findings, "webhook")?;
    let url = |text: &str| server_url(text).map(|parsed| parsed.url).filter(|url| !url.scheme.is_websocket());
    let secret = secret(&webhook, findings, "secret");
    Some(RoomWebhook { url: webhook.require(findings, "url", "an http:// or https:// URL", url)?, secret })
}

fn blueprints(section: &Section<'_>, findings: &mut Findings) -> BlueprintsRules {
    BlueprintsRules {
        token: secret(section, findings, "token"),
        keepalive: time(section, findings, "keepalive_timeout", Duration::from_secs(30)),
        turn: turn(section, findings),
    }
}

fn turn(section: &Section<'_>, findings: &mut Findings) -> Option<TurnCredentials> {
    let turn = section.section(findings, "turn")?;
    let a_url =
        |text: &str| (text.starts_with("turn:") || text.starts_with("turns:")).then(|| text.to_owned());
    let url = turn.require(findings, "url", "a TURN URL such as turn:example.org:3478?transport=udp", a_url);
    let secret = turn.require(findings, "secret", "a secret", not_empty);
    let lifetime = time(&turn, findings, "lifetime", Duration::from_secs(60));
    Some(TurnCredentials { url: url?, secret: secret?, lifetime })
}

fn gst(section: &Section<'_>, findings: &mut Findings) -> GstRules {
    const A_HEALTH_PATH: &str = "a path such as /health, or nothing in quotes";
    let path = |text: &str| match text {
        "" => Some(None),
        path => path.starts_with('/').then(|| Some(path.to_owned())),
    };
    GstRules {
        token: secret(section, findings, "token"),
        keepalive: time(section, findings, "keepalive_timeout", Duration::from_secs(30)),
        health: section
            .read(findings, "health", A_HEALTH_PATH, path)
            .unwrap_or_else(|| Some("/health".to_owned())),
    }
}

pub(super) fn time(section: &Section<'_>, findings: &mut Findings, key: &str, usual: Duration) -> Duration {
    section.read(findings, key, A_DURATION, timeout).unwrap_or(usual)
}

pub(super) fn secret(section: &Section<'_>, findings: &mut Findings, key: &str) -> Option<Secret> {
    section.read(findings, key, "a secret", not_empty)
}

fn not_empty(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}
