//! \[pure\] `protocol: live` below `signalling:` of a route.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::RouteUpstream;
use super::addr;
use super::auth::{Auth, Secret, auth};
use super::routes::{Inherited, upstream};
use super::section::{Findings, Section, join};
use super::signalling::{RoomWebhook, secret, time, webhook};

/// `protocol: live`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRules {
    /// `jwt_secret`: signs bearers, HS256.
    pub jwt_secret: Option<Secret>,
    /// `auth`: `users` are names and their bearers, `webhook` is asked for what is neither.
    pub auth: Auth,
    /// `mode`, default routed where there is an `upstream`, else p2p.
    pub mode: LiveMode,
    /// `rooms`: a mode for single rooms.
    pub rooms: BTreeMap<String, LiveMode>,
    /// `upstream`: the Janus of routed rooms.
    pub upstream: Option<RouteUpstream>,
    /// `janus`: how it wants to be asked.
    pub janus: LiveJanus,
    /// `reconnect_timeout`: who lost the connection has so long to come back, default 30 s.
    pub grace: Duration,
    /// `video`: what clients are told about their cameras.
    pub video: LiveVideo,
    /// `events`: who is told what happens.
    pub events: LiveEvents,
}

/// How media flow in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveMode {
    /// `p2p`: from one to the other.
    P2p,
    /// `routed`: by a Janus VideoRoom.
    Routed,
}

/// `janus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveJanus {
    /// `janus.string_ids`, as in the configuration of its VideoRoom, default false.
    pub string_ids: bool,
    /// `janus.api_secret`
    pub api_secret: Option<Secret>,
    /// `janus.admin_key`, where making rooms needs one.
    pub admin_key: Option<Secret>,
    /// `janus.audiobridge`: who asks for it is offered the sound of a room mixed, by an AudioBridge, default false.
    pub audiobridge: bool,
}

/// `video`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveVideo {
    /// `video.width`: widest picture, default 640.
    pub width: u32,
    /// `video.height`: highest picture, default 580; in a crowd, divided by half of the others.
    pub height: u32,
    /// `video.crowd_width`: widest picture in a crowd, default 320.
    pub crowd_width: u32,
    /// `video.crowd_from`: others that make a crowd, default 3.
    pub crowd_from: u32,
    /// `video.min_frame_rate`, default 10.
    pub min_frame_rate: u32,
    /// `video.max_frame_rate`, default 30.
    pub max_frame_rate: u32,
}

impl Default for LiveVideo {
    fn default() -> Self {
        LiveVideo {
            width: 640,
            height: 580,
            crowd_width: 320,
            crowd_from: 3,
            min_frame_rate: 10,
            max_frame_rate: 30,
        }
    }
}

/// `events`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveEvents {
    /// `events.amqp`: a broker.
    pub amqp: Option<LiveBroker>,
    /// `events.webhook`
    pub webhook: Option<RoomWebhook>,
    /// `events.file`: one JSON object per line is appended to it.
    pub file: Option<PathBuf>,
    /// `events.ping`: each minute for each that is there, default false.
    pub ping: bool,
    /// `events.freeze`: when somebody's picture stands still, default false.
    pub freeze: bool,
    /// `events.cpu`: what clients tell of their load, default false.
    pub cpu: bool,
}

/// A broker that speaks AMQP 0-9-1, such as RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBroker {
    /// `events.amqp`: its URL, which may hold a password.
    pub url: Secret,
    /// `events.exchange`, default `live_events`.
    pub exchange: String,
    /// `events.exchange_type`: of an exchange that is not there yet, default `topic`.
    pub exchange_type: String,
}

const MODES: &str = "p2p or routed";

pub(super) fn live(section: &Section<'_>, inherited: &Inherited<'_>, findings: &mut Findings) -> LiveRules {
    let jwt_secret = secret(section, findings, "jwt_secret");
    let auth = auth(section, findings);
    without_bearers(section, jwt_secret.is_some(), &auth, findings);
    let upstream = match section.item("upstream") {
        Some(_) => upstream(section, "upstream", inherited, findings),
        None => None,
    };
    let usual = if section.item("upstream").is_some() { LiveMode::Routed } else { LiveMode::P2p };
    let given = section.read(findings, "mode", MODES, mode);
    let rooms = rooms(section, findings);
    let is_routed = given == Some(LiveMode::Routed) || rooms.values().any(|mode| *mode == LiveMode::Routed);
    if is_routed && section.item("upstream").is_none() {
        let message = "expected an upstream, the Janus of routed rooms, found none";
        findings.error(section.at, &join(&section.path, "upstream"), message);
    }
    LiveRules {
        jwt_secret,
        auth,
        mode: given.unwrap_or(usual),
        rooms,
        upstream,
        janus: janus(section, findings),
        grace: time(section, findings, "reconnect_timeout", Duration::from_secs(30)),
        video: video(section, findings),
        events: events(section, findings),
    }
}

fn without_bearers(section: &Section<'_>, has_secret: bool, auth: &Auth, findings: &mut Findings) {
    let has_any = has_secret || !auth.users.is_empty() || auth.webhook.is_some();
    // What is given and wrong was reported where it stands.
    let is_given = ["jwt_secret", "auth"].iter().any(|key| section.item(key).is_some());
    if !has_any && !is_given {
        let message = "expected jwt_secret, auth.users or auth.webhook, found none; nobody could join";
        findings.error(section.at, &join(&section.path, "jwt_secret"), message);
    }
    for key in ["password", "secrets"] {
        let has = if key == "password" { auth.password.is_some() } else { !auth.secrets.is_empty() };
        if has {
            let path = join(&join(&section.path, "auth"), key);
            findings.warn(
                section.place("auth"),
                &path,
                "has no effect with protocol: live, which has bearers",
            );
        }
    }
}

fn mode(text: &str) -> Option<LiveMode> {
    match text {
        "p2p" => Some(LiveMode::P2p),
        "routed" => Some(LiveMode::Routed),
        _ => None,
    }
}

fn rooms(section: &Section<'_>, findings: &mut Findings) -> BTreeMap<String, LiveMode> {
    let Some(rooms) = section.section(findings, "rooms") else { return BTreeMap::new() };
    let names: Vec<String> = rooms.node.entries().iter().map(|entry| entry.key.clone()).collect();
    let read = |name: String| Some((name.clone(), rooms.require(findings, &name, MODES, mode)?));
    names.into_iter().filter_map(read).collect()
}

fn janus(section: &Section<'_>, findings: &mut Findings) -> LiveJanus {
    let Some(janus) = section.section(findings, "janus") else { return LiveJanus::default() };
    LiveJanus {
        string_ids: janus.flag(findings, "string_ids", false),
        api_secret: secret(&janus, findings, "api_secret"),
        admin_key: secret(&janus, findings, "admin_key"),
        audiobridge: janus.flag(findings, "audiobridge", false),
    }
}

fn video(section: &Section<'_>, findings: &mut Findings) -> LiveVideo {
    let usual = LiveVideo::default();
    let Some(video) = section.section(findings, "video") else { return usual };
    let a_count = |text: &str| addr::number::<u32>(text).filter(|count| *count > 0);
    let mut read =
        |key, usual| video.read(findings, key, "a whole number, 1 or more", a_count).unwrap_or(usual);
    LiveVideo {
        width: read("width", usual.width),
        height: read("height", usual.height),
        crowd_width: read("crowd_width", usual.crowd_width),
        crowd_from: read("crowd_from", usual.crowd_from),
        min_frame_rate: read("min_frame_rate", usual.min_frame_rate),
        max_frame_rate: read("max_frame_rate", usual.max_frame_rate),
    }
}

fn events(section: &Section<'_>, findings: &mut Findings) -> LiveEvents {
    let Some(events) = section.section(findings, "events") else { return LiveEvents::default() };
    const TYPES: [&str; 4] = ["topic", "direct", "fanout", "headers"];
    let not_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let exchange = events.read(findings, "exchange", "the name of an exchange", not_empty);
    let kind = events.read(findings, "exchange_type", "topic, direct, fanout or headers", |text| {
        TYPES.contains(&text).then(|| text.to_owned())
    });
    let url = events.read(findings, "amqp", "an amqp:// or amqps:// URL", |text| {
        (text.starts_with("amqp://") || text.starts_with("amqps://")).then(|| Secret::new(text))
    });
    LiveEvents {
        amqp: url.map(|url| LiveBroker {
            url,
            exchange: exchange.unwrap_or_else(|| "live_events".into()),
            exchange_type: kind.unwrap_or_else(|| "topic".into()),
        }),
        webhook: webhook(&events, findings),
        file: events.read(findings, "file", "a file name", not_empty).map(PathBuf::from),
        ping: events.flag(findings, "ping", false),
        freeze: events.flag(findings, "freeze", false),
        cpu: events.flag(findings, "cpu", false),
    }
}
