//! `routes.yml`: what good files mean, what bad files are told, and that no file does harm.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use xrtc::budget::Rate;
use xrtc::config::report::Report;
use xrtc::config::{
    Balance, CandidateHost, Config, ConfigError, DialectKind, Finding, LiveMode, Loaded, PathRule, RoomRules,
    RouteUpstream, ServiceKind, Severity, Surroundings, TlsFiles,
};

fn vector(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/config").join(name);
    std::fs::read_to_string(file).expect("the vector is there")
}

fn load(text: &str) -> Loaded {
    Config::from_text(text).unwrap_or_else(|error| panic!("{error}"))
}

/// `line:column path: message` of every finding of one severity.
fn said(findings: &[Finding], severity: Severity) -> Vec<String> {
    let place = |f: &Finding| f.at.map_or("?".into(), |at| format!("{}:{}", at.line, at.column));
    findings.iter().filter(|f| f.severity == severity).map(|f| format!("{} {f}", place(f))).collect()
}

fn errors(text: &str) -> Vec<String> {
    match Config::from_text(text) {
        Err(ConfigError::Invalid(invalid)) => said(&invalid.findings, Severity::Error),
        other => panic!("expected errors, found {other:?}"),
    }
}

#[test]
fn the_sample_at_the_top_of_the_tree_loads_without_a_word() {
    let loaded = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("routes.yml")).expect("loads");
    assert_eq!(loaded.render_warnings(false), "");
    let Config { services, upstreams, .. } = &loaded.config;
    let http = services[0].http().expect("serves HTTP");
    assert_eq!(services[0].listen, ([0, 0, 0, 0], 8080).into());
    assert_eq!(http.routes[0].dialect, Some(DialectKind::Janus));
    assert_eq!(http.routes[0].upstream, RouteUpstream::Group(0));
    let servers: Vec<_> = upstreams[0].servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["http://127.0.0.1:8088", "ws://127.0.0.1:8188"]);
    let ServiceKind::Udp { ice: Some(ice) } = &services[1].kind else { panic!("carries ICE") };
    assert_eq!(ice.candidate_ips, [CandidateHost::HostInterface]);
}

#[test]
fn the_rewriting_proxy_s_sample_loads_unchanged() {
    let loaded = load(&vector("generation_a.yml"));
    let names: Vec<_> = loaded.config.services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["web1", "mux1", "media1"]);
    let http = loaded.config.services[0].http().expect("serves HTTP");
    let routes: Vec<_> = http.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(routes, ["janus", "ums", "default"]);
    assert_eq!(http.upstream.keepalive, Duration::from_secs(120));
    assert_eq!(http.routes[2].paths[0], PathRule { prefix: "/try".into(), replacement: Some("/try".into()) });
    let doubts = said(&loaded.warnings, Severity::Warning);
    assert!(
        doubts
            .iter()
            .all(|line| line.contains("proto: udp") || line.contains("port 6000: browsers send no ICE")),
        "{doubts:?}"
    );
}

#[test]
fn its_first_spelling_loads_with_a_warning_for_each_old_key() {
    let loaded = load(&vector("generation_a_early.yml"));
    assert_eq!(
        said(&loaded.warnings, Severity::Warning),
        [
            "12:13 services.web1.net.enable: unknown key, ignored (did you mean `enable_ice`?)",
            "17:13 services.web1.http.response_timeout: unknown key, ignored (did you mean `response_header_timeout`?)",
            "25:5 services.media1: does nothing without net.enable_ice: true",
            "28:13 services.media1.net.enable: unknown key, ignored (did you mean `enable_ice`?)",
            "30:13 services.media1.net.ips: unknown key, ignored (did you mean `candidate_ips`?)",
        ]
    );
}

#[test]
fn the_registration_service_s_sample_loads_unchanged_and_all_of_it_is_served() {
    let loaded = load(&vector("generation_b.yml"));
    let listeners = xrtc::config::report::Report::new(&loaded.config, &[]).listeners;
    let idle: Vec<_> = listeners.iter().filter(|listener| listener.does.starts_with("nothing")).collect();
    assert!(!listeners.is_empty() && idle.is_empty(), "{idle:?}");
}

#[test]
fn every_key_is_read() {
    let env = |name: &str| (name == "XRTC_ADMIN_TOKEN").then(|| "a-t0ken-of-this-test".to_owned());
    let surroundings = Surroundings { env: &env, readable: &|_| true, cores: 7 };
    let text = vector("every_key.yml");
    let loaded =
        Config::parse(Path::new("x.yml"), &text, surroundings).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        said(&loaded.warnings, Severity::Warning),
        [
            "40:28 services.http0.http.upstream_tls_verify: upstreams are not verified: whoever sits on the way to them \
             can read and change everything"
        ]
    );
    let used = keys_of(&text);
    let unused: Vec<_> = xrtc::config::known_keys().filter(|key| !used.contains(*key)).collect();
    assert_eq!(unused, [""; 0], "keys that tests/vectors/config/every_key.yml does not have");

    let Config { services, upstreams, media, limits, drain_timeout, watch, .. } = &loaded.config;
    assert_eq!((media.workers, media.backend_ports.clone(), media.offload), (3, 41000..=42000, false));
    assert_eq!((media.pin_workers, media.observe_rtp), (true, false));
    assert_eq!(media.coalesce, Duration::from_micros(250));
    let plain = load(UDP).config.media;
    let held = plain.followed_by(media);
    assert_eq!(
        (held.observe_rtp, held.coalesce, &held.backend_ports),
        (false, media.coalesce, &media.backend_ports)
    );
    assert_eq!((held.workers, held.socket_buffer), (plain.workers, plain.socket_buffer));
    let stays = ["media.workers", "media.socket_buffer", "media.offload", "media.pin_workers"];
    assert_eq!(plain.needs_restart(media), stays);
    assert_eq!(
        (media.socket_buffer, limits.signalling_body, limits.ws_message),
        (8 << 20, 64 << 10, 128 << 10)
    );
    assert_eq!((limits.session_packets, limits.session_bytes, media.pin_workers), (500, 2_000_000, true));
    let counts = (limits.sessions, limits.registrations_per_client, limits.http_connections);
    assert_eq!(counts, (10, 5, 20));
    assert_eq!((*drain_timeout, *watch), (Duration::from_secs(90), true));
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    assert_eq!((limits.stun, limits.http, limits.registrations), (rate(8, 9), None, rate(12, 13)));
    assert_eq!((limits.connections_per_source, limits.tracked_sources), (7, 14));
    assert!(limits.exempts("192.0.2.9".parse().unwrap()) && !limits.exempts("127.0.0.1".parse().unwrap()));
    assert_eq!((upstreams[0].mode, upstreams[0].servers.len()), (Balance::Random, 4));
    assert_eq!(upstreams[0].servers[1].to_string(), "https://[2001:db8::1]:443/api");
    let health = upstreams[0].health.clone().expect("is checked");
    assert_eq!((health.path.as_deref(), health.fall, health.rise), (Some("/janus/info"), 3, 4));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(7), Duration::from_secs(1)));
    let tcp = services[1].http().expect("serves HTTP");
    assert!(tcp.trusted_proxies.is_empty());
    assert_eq!(services[1].tls, Some(TlsFiles { cert: "c.pem".into(), key: "k.pem".into() }));
    let http = services[2].http().expect("serves HTTP");
    assert_eq!(http.servername.as_deref(), Some("edge.example.org"));
    assert_eq!((http.rest, http.upstream.max_idle, http.upstream.tls_verify), (false, 0, false));
    assert_eq!(http.upstream.flush_interval, Duration::ZERO);
    assert_eq!(http.upstream.response_header_timeout, Duration::from_secs(3));
    assert_eq!((http.geoip_db.as_deref(), http.trusted_proxies.len()), (Some(Path::new("c.mmdb")), 2));
    assert_eq!(http.routes[0].hosts, ["janus.example.org"]);
    assert_eq!(http.routes[0].ws_protocols, ["janus-protocol"]);
    assert_eq!(http.routes.len(), 8);
    check_rooms(&http.routes[4..]);
    let ServiceKind::Turn(turn) = &services[3].kind else { panic!("{:?}", services[3].kind) };
    assert_eq!(
        (turn.realm.as_str(), turn.external_ips.len(), turn.relay_ports.clone()),
        ("example.org", 2, 49152..=65535)
    );
    assert_eq!(turn.external_ips[1].private, Some([10, 0, 0, 5].into()));
    assert_eq!((turn.allocations, turn.allocations_per_user, turn.allocations_per_client), (5, 4, 3));
    assert_eq!((turn.bandwidth, turn.max_lifetime.as_secs(), turn.stranger_answers), (64 << 10, 600, 7));
    assert_eq!((turn.auth.users.len(), turn.auth.secrets.len(), turn.tls_listen.is_some()), (1, 1, true));
    assert!(services[1].carries_turn);
    let credentials = http.turn_credentials.as_ref().expect("gives credentials");
    assert_eq!(
        (credentials.path.as_str(), credentials.ttl.as_secs(), credentials.uris.len()),
        ("/turn", 60, 1)
    );
    assert!(matches!(services[4].kind, ServiceKind::Admin(_)));
}

fn check_rooms(routes: &[xrtc::config::Route]) {
    let signalling = |at: usize| match &routes[at].upstream {
        RouteUpstream::Rooms(signalling) => &**signalling,
        other => panic!("{other:?}"),
    };
    let RoomRules::WebrtcServer(rules) = &signalling(0).rules else { panic!() };
    assert_eq!((rules.auth_timeout, rules.idle_timeout), (Duration::from_secs(4), None));
    assert_eq!(
        rules.webhook.as_ref().map(|webhook| webhook.url.to_string()),
        Some("http://127.0.0.1:9000/room".into())
    );
    let limits = &signalling(0).limits;
    assert_eq!((limits.message, limits.queue, limits.peers, limits.rooms), (1 << 20, 7, 3, 4));
    assert_eq!(limits.connects.map(|connects| connects.get()), Some(5));
    let RoomRules::Blueprints(rules) = &signalling(1).rules else { panic!() };
    assert_eq!(rules.turn.as_ref().map(|turn| turn.lifetime), Some(Duration::from_secs(90)));
    assert_eq!(routes[1].paths.iter().map(|path| &*path.prefix).collect::<Vec<_>>(), ["/", "/signaling"]);
    let RoomRules::Live(rules) = &signalling(2).rules else { panic!() };
    assert_eq!((rules.mode, rules.rooms["salon"]), (LiveMode::P2p, LiveMode::Routed));
    assert_eq!(
        (rules.grace, rules.video.width, rules.janus.string_ids, rules.janus.audiobridge),
        (Duration::from_secs(20), 800, true, true)
    );
    let events = &rules.events;
    let broker = events.amqp.as_ref().map(|broker| (&*broker.exchange, &*broker.exchange_type));
    assert_eq!((broker, events.cpu, events.webhook.is_some()), (Some(("x", "direct")), true, true));
    assert_eq!((signalling(2).limits.peers, signalling(2).limits.queue), (8, 8192));
    let RoomRules::Gst(rules) = &signalling(3).rules else { panic!() };
    assert_eq!((rules.keepalive, rules.health.as_deref()), (Duration::from_secs(20), Some("/up")));
}

#[test]
fn what_is_wrong_with_rooms_is_said_with_its_place() {
    let rooms = |signalling: &str| {
        let text = format!(
            "services:\n  h:\n    proto: http\n    net: {{addr: ':1'}}\n    http: {{routes: {{r: {signalling}}}}}\n"
        );
        match Config::from_text(&text) {
            Err(error) => error.render(false),
            Ok(loaded) => loaded.render_warnings(false),
        }
    };
    for (signalling, expected) in [
        (
            "{signalling: {}}",
            "signalling.protocol: expected webrtc-server, blueprints, live, gst or webrtcsink, found nothing",
        ),
        (
            "{signalling: {protocol: webrtc-server}}",
            "signalling.auth: expected auth with users, password, secrets or webhook",
        ),
        (
            "{signalling: {protocol: webrtc-server, auth: {}}}",
            "expected auth with users, password, secrets or webhook",
        ),
        ("{signalling: {protocol: gst, health: x}}", "signalling.health: expected a path such as /health"),
        ("{signalling: {protocol: gst, max_message: 17MiB}}", "signalling.max_message: expected a size"),
        (
            "{signalling: {protocol: gst, max_queue: 0}}",
            "signalling.max_queue: expected a whole number, 1 or more",
        ),
        (
            "{signalling: {protocol: gst, auth_timeout: 1s}}",
            "signalling.auth_timeout: has no effect with protocol: gst",
        ),
        (
            "{signalling: {protocol: blueprints, max_peers: 3}}",
            "signalling.max_peers: has no effect with protocol: blueprints",
        ),
        ("{signalling: {protocol: blueprints, turn: {url: x}}}", "signalling.turn.url: expected a TURN URL"),
        (
            "{signalling: {protocol: gst}, upstream: 'http://x'}",
            "r.upstream: has no effect beside signalling",
        ),
        (
            "{signalling: {protocol: live}}",
            "signalling.jwt_secret: expected jwt_secret, auth.users or auth.webhook, found none; nobody could join",
        ),
        (
            "{signalling: {protocol: live, jwt_secret: x, mode: routed}}",
            "signalling.upstream: expected an upstream, the Janus of routed rooms, found none",
        ),
        (
            "{signalling: {protocol: live, jwt_secret: x, rooms: {r: mixed}}}",
            "signalling.rooms.r: expected p2p or routed, found \"mixed\"",
        ),
        (
            "{signalling: {protocol: live, jwt_secret: x, events: {amqp: 'http://x'}}}",
            "signalling.events.amqp: expected an amqp:// or amqps:// URL",
        ),
        (
            "{signalling: {protocol: live, jwt_secret: x, auth: {secrets: [s]}}}",
            "signalling.auth.secrets: has no effect with protocol: live",
        ),
    ] {
        let said = rooms(signalling);
        assert!(said.contains(expected) && said.contains(":5:"), "{signalling}: {said}");
    }
    assert_eq!(rooms("{signalling: {protocol: gst}}"), "", "a usual path needs no word");
}

/// The keys of a file as `docs/routes.md` spells them, from the indentation of a parsed file's paths.
fn keys_of(text: &str) -> BTreeSet<String> {
    fn walk(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
        found.insert(path.to_owned());
        for (key, value) in value.as_object().into_iter().flatten() {
            let name = match path.rsplit('.').next() {
                Some("services") => "<service>",
                Some("routes") => "<route>",
                Some("users") => "<user>",
                Some("rooms") => "<room>",
                _ => key,
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            walk(value, &path, found);
        }
    }
    let value: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
    let mut found = BTreeSet::new();
    walk(&value, "", &mut found);
    found
}

#[test]
fn the_document_and_the_program_know_the_same_keys() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routes.md");
    let text = std::fs::read_to_string(file).expect("the document is there");
    let row = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    let documented: Vec<String> = text.lines().filter_map(row).collect();
    let unique: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), documented.len(), "a key has two rows");
    let known: BTreeSet<&str> = xrtc::config::known_keys().collect();
    assert_eq!(known.difference(&unique).collect::<Vec<_>>(), [&""; 0], "known, but not documented");
    assert_eq!(unique.difference(&known).collect::<Vec<_>>(), [&""; 0], "documented, but not known");
}

#[test]
fn the_document_s_example_loads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routes.md");
    let text = std::fs::read_to_string(file).expect("the document is there");
    let example = text.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert_eq!(load(example).render_warnings(false), "");
}

const UDP: &str = "services:\n  udp0:\n    proto: udp\n    net: {addr: '192.0.2.1:6001', enable_ice: true}\n";

#[test]
fn defaults_are_the_documented_ones() {
    let text = format!("{UDP}  http0: {{proto: http, net: {{addr: ':80'}}, http: {{routes: {{}}}}}}\n");
    let Config { services, media, limits, drain_timeout, .. } = load(&text).config;
    let http = services[1].http().expect("serves HTTP");
    let seconds = |duration: Duration| duration.as_secs();
    assert_eq!((http.servername.as_deref(), &http.root, http.rest), (None, &None, true));
    assert_eq!((http.upstream.max_idle, seconds(http.upstream.idle_timeout)), (100, 30));
    assert_eq!(
        (seconds(http.upstream.dial_timeout), seconds(http.upstream.response_header_timeout)),
        (10, 300)
    );
    assert_eq!(seconds(http.upstream.keepalive), 1200);
    assert_eq!(http.upstream.flush_interval, Duration::from_millis(100));
    assert_eq!(http.upstream.global_flush_interval, Duration::from_millis(100));
    assert_eq!(
        (media.workers, media.backend_ports, media.socket_buffer, media.offload, media.observe_rtp),
        (1, 40000..=50000, 4 << 20, true, true)
    );
    assert_eq!(media.coalesce, Duration::from_micros(200));
    assert_eq!((limits.sessions, limits.http_connections), (100_000, 10_000));
    assert_eq!((limits.signalling_body, limits.ws_message), (1 << 20, 1 << 20));
    assert_eq!(drain_timeout, Duration::from_secs(30));
}

#[test]
fn typed_and_quoted_values_mean_the_same() {
    let quoted = UDP.replace("true", "\"true\"");
    assert_eq!(format!("{:?}", load(UDP).config), format!("{:?}", load(&quoted).config));
}

/// What a bad file is told: the text, then every error as `line:column path: message`.
const BAD: &[(&str, &[&str])] = &[
    ("", &["1:1 expected a map with services, found an empty file"]),
    ("[]", &["1:1 expected a map with services, found a list"]),
    ("text", &["1:1 expected a map with services, found a single value"]),
    ("media: {}", &["1:1 services: expected a map of services, found nothing; the key is required"]),
    ("services:", &["1:9 services: expected a map of services, found nothing; the key is required"]),
    ("services: {}", &["1:1 services: expected at least one service, found none"]),
    ("services: [a]", &["1:11 services: expected a map, found a list"]),
    ("services: {a: 1}", &["1:15 services.a: expected a map, found \"1\""]),
    (
        "services: {a: {proto: http, net: {addr: ':1'}}}\ndrain_timeout: 1s\ndrain_timeout: soon\nwatch: maybe\n",
        &[
            "3:1 drain_timeout: expected each key once, found it again; it stands in line 2 already",
            "4:8 watch: expected true or false, found \"maybe\"",
        ],
    ),
    (
        "services:\n  a: {proto: upstream, mode: rr, servers: ['http://x'], mode: rr}\n  a: {proto: upstream, servers: ['ws://x']}\n",
        &[
            "2:57 services.a.mode: expected each key once, found it again; it stands in line 2 already",
            "3:3 services.a: expected each key once, found it again; it stands in line 2 already",
        ],
    ),
    (
        "services: {a: {proto: udp, net: {addr: ':1', enable_ice: true, candidate_ips: candidate_host_ip, candidate_ports: [1, 2]}}}",
        &[
            "1:79 services.a.net.candidate_ips: expected a list, each entry an IP address, a host name or candidate_host_ip, \
             found \"candidate_host_ip\" (a list is written `[a, b]`, or as lines with `- `)",
            "1:115 services.a.net.candidate_ports: expected one port, or one for each of candidate_ips (1), found 2",
        ],
    ),
    (
        "services:\n  p: {proto: upstream, servers: ['http://x', 'ws://x']}\n  a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {paths: [/], upstream: p}}}}\n",
        &["3:81 services.a.http.routes.r.upstream: expected http://host[:port], https://host[:port] or \
             http://<upstream service>, found \"p\" (the upstream service of that name is written `http://p`)"],
    ),
    ("services:\n  a: {proto: udp\n", &["2:6 expected YAML: unclosed bracket '{'"]),
    ("a: b\n---\nc: d\n", &["2:1 expected one YAML document, found another one"]),
    (
        "services: {a: {net: {addr: ':80'}}}",
        &[
            "1:12 services.a.proto: expected udp, tcp, http, upstream, turn or admin, found nothing; the key is required",
        ],
    ),
    (
        "services:\n  a:\n    addrs: ['udp://:1']\n",
        &[
            "2:3 services.a.proto: expected udp, tcp, http, upstream, turn or admin, found nothing; the key is required \
           (this is the layout with `addrs`; write one service per address, with `proto` and `net.addr`)",
        ],
    ),
    (
        "services: {a: {proto: http}}",
        &[
            "1:12 services.a.net.addr: expected \"ip:port\", \":port\" or \"[ipv6]:port\", found nothing; the key is required",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: localhost}}}",
        &[
            "1:41 services.a.net.addr: expected \"ip:port\", \":port\" or \"[ipv6]:port\", found \"localhost\"",
        ],
    ),
    (
        "services: {a: {proto: udp, net: {addr: ':1', enable_ice: on}}}",
        &["1:58 services.a.net.enable_ice: expected true or false, found \"on\""],
    ),
    (
        "services: {a: {proto: udp, net: {addr: ':6000', enable_ice: true}}}",
        &[
            "1:40 services.a.net.candidate_ips: expected the addresses to publish, found none, and \"0.0.0.0:6000\" is no \
           address to publish (write candidate_ips: [203.0.113.7] with the address that clients reach, or \
           [candidate_host_ip] for the first address of this host)",
        ],
    ),
    (
        "services: {a: {proto: udp, net: {addr: ':1', enable_ice: true, candidate_ips: [1.2.3, 0.0.0.0]}}}",
        &[
            "1:80 services.a.net.candidate_ips[0]: expected an IP address, a host name or candidate_host_ip, found \"1.2.3\"",
            "1:87 services.a.net.candidate_ips[1]: expected an IP address, a host name or candidate_host_ip, found \"0.0.0.0\"",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1', tls_crt_file: c}}}",
        &["1:61 services.a.net.tls_key_file: expected a path, found nothing; tls_crt_file needs it"],
    ),
    (
        "services:\n  a: {proto: http, net: {addr: ':1'}}\n  b: {proto: tcp, net: {addr: '0.0.0.0:1'}, enable_http: true}\n",
        &[
            "3:31 services.b.net.addr: expected an address of its own, found \"0.0.0.0:1\", which services.a has",
        ],
    ),
    (
        "services: {a: {proto: upstream}}",
        &[
            "1:12 services.a.servers: expected a list, each entry an http://, https://, ws:// or wss:// URL, found nothing; \
           the key is required",
        ],
    ),
    (
        "services: {a: {proto: upstream, servers: []}}",
        &["1:42 services.a.servers: expected at least one server, found none"],
    ),
    (
        "services: {a: {proto: upstream, mode: lru, servers: [ftp://x]}}",
        &[
            "1:39 services.a.mode: expected rr or random, found \"lru\"",
            "1:54 services.a.servers[0]: expected an http://, https://, ws:// or wss:// URL, found \"ftp://x\"",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1'}, http: {dial_timeout: 10, idle_conn_timeout: 0s, max_conns: -1}}}",
        &[
            "1:69 services.a.http.dial_timeout: expected a duration such as 30s, 100ms, 5m or 1h, found \"10\"",
            "1:92 services.a.http.idle_conn_timeout: expected a duration such as 30s, 100ms, 5m or 1h, found \"0s\"",
            "1:107 services.a.http.max_conns: expected a whole number, 0 or more, found \"-1\"",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1'}, http: {optimal: geoip}}}",
        &[
            "1:64 services.a.http.geoip_db: expected the path of a GeoLite2-City database, found nothing; optimal: geoip needs it",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {paths: [/]}}}}}",
        &["1:64 services.a.http.routes.r.upstream: expected http://host[:port], https://host[:port] or \
           http://<upstream service>, found nothing; the key is required"],
    ),
    (
        "services:\n  p: {proto: upstream, servers: ['http://x', 'ws://x']}\n  a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {paths: [/], upstream: 'http://p:8088'}}}}\n",
        &[
            "3:81 services.a.http.routes.r.upstream: expected http://p alone, because p is an upstream service, \
           found \"http://p:8088\" (scheme, port and path stand in the service's `servers`)",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {hosts: ['a:80', '*.b'], protos: [janus], \
         paths: [x, {/a: b}, /c?d], upstream: 'http://x'}}}}}",
        &[
            "1:76 services.a.http.routes.r.hosts[0]: expected a host name without port, found \"a:80\"",
            "1:84 services.a.http.routes.r.hosts[1]: expected a host name without port, found \"*.b\"",
            "1:101 services.a.http.routes.r.protos[0]: expected ws@ and a WebSocket subprotocol, found \"janus\"",
            "1:117 services.a.http.routes.r.paths[0]: expected /prefix or {/prefix: /replacement}, found \"x\"",
            "1:120 services.a.http.routes.r.paths[1]: expected /prefix or {/prefix: /replacement}, found a map",
            "1:129 services.a.http.routes.r.paths[2]: expected /prefix or {/prefix: /replacement}, found \"/c?d\"",
        ],
    ),
    (
        "services: {a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {paths: [/], dialect: json, offer: sdp, upstream: 'http://x'}}}}}",
        &[
            "1:64 services.a.http.routes.r.answer: expected a JSON pointer such as /sdp, found nothing; the key is required",
            "1:102 services.a.http.routes.r.offer: expected a JSON pointer such as /sdp, found \"sdp\"",
        ],
    ),
    (
        "services: {a: {proto: admin, net: {addr: ':1'}, admin: {token: \"\"}}}",
        &[
            "1:42 services.a.net.addr: expected a loopback address or an admin.token, found \"0.0.0.0:1\" without a token",
        ],
    ),
    (
        "services: {a: {proto: turn, net: {addr: ':1'}, turn: {auth: {users: {john: [s3cret]}, secrets: s3cret}}}}",
        &[
            "1:76 services.a.turn.auth.users.john: expected a password, found a list",
            "1:96 services.a.turn.auth.secrets: expected a list, each entry a secret, found something else \
             (a list is written `[a, b]`, or as lines with `- `)",
        ],
    ),
    (
        "services: {a: {proto: udp, net: {addr: '${ADDR}', enable_ice: true}}}",
        &[
            "1:41 services.a.net.addr: expected the environment variable ADDR to be set, or a default: ${ADDR:-default}",
        ],
    ),
    (
        "media: {workers: 0, backend_ports: 9-1, socket_buffer: 4M, coalesce: 2ms}\nlimits: {sessions: many}\ndrain_timeout: soon\n\
         services: {a: {proto: http, net: {addr: ':1'}}}",
        &[
            "1:18 media.workers: expected a whole number from 1 to 1024, found \"0\"",
            "1:36 media.backend_ports: expected a range of ports such as 40000-50000, found \"9-1\"",
            "1:56 media.socket_buffer: expected a size such as 65536, 64KiB or 4MiB, found \"4M\"",
            "1:70 media.coalesce: expected 0, or a duration up to 1ms such as 200us, found \"2ms\"",
            "2:20 limits.sessions: expected a whole number, 1 or more, found \"many\"",
            "3:16 drain_timeout: expected a duration such as 30s, 100ms, 5m or 1h, found \"soon\"",
        ],
    ),
];

#[test]
fn bad_files_are_told_exactly_what_is_wrong() {
    let wrong: Vec<String> = BAD
        .iter()
        .map(|(text, expected)| (text, expected, errors(text)))
        .filter(|(_, expected, said)| said != *expected)
        .map(|(text, expected, said)| format!("in {text}\nexpected {expected:#?}\nsaid {said:#?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_read_is_told_once_and_has_no_consequences() {
    for text in [
        "services: {a: {proto: udp, net: {addr: ':6001', enable_ice: yes, candidate_ips: [192.0.2.1], enable_stun: true}}}",
        "services: {a: {proto: tcp, net: {addr: ':80'}, enable_http: yes, http: {root: .}}}",
        "services: {a: {proto: tcp, net: {addr: ':443', enable_turn: yes}}}",
        "services: {a: {proto: http, net: {addr: ':80'}, http: {routes: {r: {signalling: {protocol: gts}}}}}}",
    ] {
        let Err(ConfigError::Invalid(invalid)) = Config::from_text(text) else {
            panic!("an error in {text}")
        };
        assert_eq!(invalid.findings.len(), 1, "in {text}: {:#?}", invalid.findings);
    }
}

#[test]
fn an_unknown_proto_is_skipped_with_a_warning() {
    let loaded = load(&format!("{UDP}  x: {{proto: htp, whatever: 1}}\n"));
    assert_eq!(loaded.config.services.len(), 1);
    assert_eq!(
        said(&loaded.warnings, Severity::Warning),
        ["5:14 services.x.proto: unknown proto \"htp\", the service is skipped; \
          expected udp, tcp, http, upstream, turn or admin (did you mean `http`?)"]
    );
}

#[test]
fn doubtful_files_are_warned() {
    let loaded = load(
        "services:
  janus_pool: {proto: upstream, servers: ['ws://x']}
  other: {proto: upstream, servers: ['http://x']}
  a: {proto: http, net: {addr: ':1'}, http: {routes: {r: {upstream: 'http://janus_pol', offer: /x}}}}
  t: {proto: tcp, net: {addr: ':2', candidate_ips: [192.0.2.1]}}
  u: {proto: udp, net: {addr: '192.0.2.1:6000', enable_ice: true}}
",
    );
    assert_eq!(
        said(&loaded.warnings, Severity::Warning),
        [
            "2:42 services.janus_pool.servers: no http:// or https:// server: every HTTP request gets 502",
            "3:37 services.other.servers: no ws:// or wss:// server: every WebSocket upgrade gets 502",
            "4:55 services.a.http.routes.r: has no hosts, protos or paths, so no request ever takes this route",
            "4:69 services.a.http.routes.r.upstream: no upstream service is named janus_pol, so this is a host \
             (did you mean `http://janus_pool`?)",
            "4:96 services.a.http.routes.r.offer: has no effect without dialect: json",
            "5:3 services.t: does nothing without net.enable_ice: true, net.enable_turn: true or enable_http: true",
            "5:52 services.t.net.candidate_ips: has no effect without enable_ice: true",
            "6:31 services.u.net.addr: port 6000: browsers send no ICE there: the port is on their list of blocked ports \
             (\"bad ports\" of the Fetch standard) (take another one, such as 3478 or 6001)",
        ]
    );
}

#[test]
fn what_is_not_served_is_not_claimed_either() {
    let loaded = load(&vector("generation_a.yml"));
    let http = loaded.config.services[0].http().expect("serves HTTP");
    assert_eq!(http.routes[0].dialect, Some(DialectKind::Janus));
    assert_eq!((http.routes[1].dialect.clone(), http.routes[1].ice_direct), (Some(DialectKind::Ums), true));
}

#[test]
fn an_unreadable_geoip_database_is_an_error() {
    let text = "services:\n  a: {proto: http, net: {addr: ':1'}, optimal: geoip, geoip_db: /nowhere.mmdb}\n";
    let surroundings = Surroundings { env: &|_| None, readable: &|_| false, cores: 1 };
    let error = Config::parse(Path::new("r.yml"), text, surroundings).expect_err("is refused").to_string();
    assert!(error.starts_with("r.yml:2:65: error: services.a.geoip_db: expected a readable"), "{error}");
}

#[test]
fn an_error_shows_the_line_with_a_caret_and_colour_only_when_asked() {
    let Err(error) = Config::from_text("services:\n\ta: 1\n  b: {proto: http, net: {addr: x}}") else {
        panic!("is refused")
    };
    assert!(error.render(false).contains("2 | \ta: 1"), "{}", error.render(false));
    let error = Config::from_text("services:\n  é: {proto: http, net: {addr: x}}\n").expect_err("is refused");
    assert_eq!(
        error.render(false),
        "routes.yml:2:32: error: services.é.net.addr: expected \"ip:port\", \":port\" or \"[ipv6]:port\", found \"x\"\n  \
         2 |   é: {proto: http, net: {addr: x}}\n    |                                ^\n  \
         ".trim_end()
    );
    assert!(!error.render(false).contains('\x1b') && error.render(true).contains("\x1b[1;31merror:"));
}

#[test]
fn secrets_are_never_shown() {
    for text in [
        "services:\n  t:\n    proto: turn\n    turn:\n      auth:\n        users:\n          john: {hunter2: x}\n",
        "services: {t: {proto: turn, net: {addr: x}, turn: {auth: {secrets: [hunter2]}}}}",
        "services: {t: {proto: turn, net: {addr: ':1'}, turn: {auth: {webhook: 'http://a:hunter2@b'}}}}",
        "services: {t: {proto: upstream, servers: ['http://a:hunter2@b']}}",
        "services:\n  a:\n    proto: admin\n    net: {addr: x}\n    admin:\n      token: [hunter2]\n",
        "services:\n  t:\n    turn:\n      auth:\n        users:\n          john: \"hunter2\n",
        "services:\n  h:\n    proto: http\n    http: {routes: {r: {signalling: {jwt_secret: [hunter2], protocol: x}}}}\n",
        "services:\n  h:\n    proto: http\n    http: {routes: {r: {signalling: {protocol: gst, token: [hunter2]}}}}\n",
        "services:\n  h:\n    proto: http\n    http: {routes: {r: {signalling: {protocol: webrtc-server, webhook: {secret: [hunter2]}}}}}\n",
    ] {
        let error = Config::from_text(text).expect_err("is refused");
        assert!(!error.render(false).contains("hunter2"), "{}", error.render(false));
    }
    let loaded = load(&vector("every_key.yml"));
    let shown = loaded.render_warnings(false) + &Report::new(&loaded.config, &[]).to_string();
    assert!(!shown.contains("s3cr3t") && !shown.contains("rest-secret"), "{shown}");
}

#[test]
fn hostile_files_do_no_harm() {
    let started = Instant::now();
    let good = vector("every_key.yml");
    let bytes = good.as_bytes();
    for end in (0..bytes.len()).step_by(13) {
        xrtc::config::fuzz(&bytes[..end]);
    }
    for at in (0..bytes.len()).step_by(11) {
        for with in *b"\x00\xff\t\n{[&*'\"$:-" {
            let mut mutated = bytes.to_vec();
            mutated[at] = with;
            if at % 3 == usize::from(with) % 3 {
                xrtc::config::fuzz(&mutated);
            }
        }
    }
    let deepest = "[".repeat(10_000);
    let long_line = format!("services: {{a: {{proto: http, net: {{addr: {}}}}}}}", "x".repeat(500_000));
    let long_key = format!("services: {{a: {{proto: http, {}: 1}}}}", "x".repeat(500_000));
    let merges = format!("a: &a {{b: 1}}\n{}", "c: {<<: *a}\n".repeat(10_000));
    let expansions = format!("a: \"{}\"", "${".repeat(100_000));
    let recursion = "a: &a [*a]";
    let unknown: String = (0..30_000).map(|n| format!("addrr{n}: 1\n")).collect();
    let bad: String = (0..10_000).map(|n| format!("  a{n}: {{proto: http}}\n")).collect();
    let bad = format!("services:\n{bad}");
    for text in [&*deepest, &long_line, &long_key, &merges, &expansions, recursion, &unknown, &bad] {
        let one = Instant::now();
        xrtc::config::fuzz(text.as_bytes());
        let took = one.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?} for {}…", &text[..10]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_group_is_checked_where_another_server_could_take_over_or_where_it_says_so() {
    let checked = |group: &str| {
        let text = format!("services: {{u: {{proto: upstream, {group}}}}}");
        let loaded = Config::from_text(&text).unwrap_or_else(|error| panic!("{error}"));
        loaded.config.upstreams[0].health.is_some()
    };
    for (group, expected) in [
        ("servers: ['http://a', 'ws://a']", false),
        ("servers: ['http://a', 'ws://a', 'wss://b']", true),
        ("servers: ['http://a', 'http://b'], health: {interval: 0}", false),
        ("servers: ['http://a'], health: {path: ''}", true),
        ("servers: ['http://a'], health: {fall: 1}", true),
    ] {
        assert_eq!(checked(group), expected, "{group}");
    }
    let text =
        "services: {u: {proto: upstream, servers: ['http://a'], health: {path: x, fall: 0, timeout: 0}}}";
    assert_eq!(
        errors(text),
        [
            "1:71 services.u.health.path: expected a path such as /janus/info, found \"x\"",
            "1:80 services.u.health.fall: expected a whole number from 1 to 1000, found \"0\"",
            "1:92 services.u.health.timeout: expected a duration such as 30s, 100ms, 5m or 1h, found \"0\"",
        ]
    );
}

#[test]
fn an_authority_file_that_cannot_be_read_is_an_error() {
    let text = "services:\n  a: {proto: http, net: {addr: ':1'}, http: {upstream_ca_file: /no/such.pem}}\n";
    let surroundings = Surroundings { env: &|_| None, readable: &|_| false, cores: 1 };
    let Err(ConfigError::Invalid(invalid)) = Config::parse(Path::new("x.yml"), text, surroundings) else {
        panic!("expected an error");
    };
    assert_eq!(
        said(&invalid.findings, Severity::Error),
        ["2:64 services.a.http.upstream_ca_file: expected a readable PEM file, found \"/no/such.pem\""]
    );
}
