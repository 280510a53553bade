//! The built program: usage, exit codes, what `check` prints.

mod scratch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use scratch::scratch;

/// Runs `xrtc` in an empty directory of its own, without this process's settings.
fn xrtc(name: &str, files: &[(&str, &str)], args: &[&str], env: &[(&str, &str)]) -> Output {
    let dir = scratch(name);
    for (file, text) in files {
        fs::write(dir.join(file), text).expect("a file");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xrtc"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("XRTC_CONFIG")
        .env_remove("XRTC_LOG")
        .env_remove("NO_COLOR");
    command.envs(env.iter().copied()).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GOOD: &str = "services:
  pool: {proto: upstream, servers: ['http://127.0.0.1:8088', 'ws://127.0.0.1:8188']}
  web:
    proto: http
    net: {addr: '127.0.0.1:8080'}
    http:
      routes:
        janus: {upstream: 'http://pool', paths: [/janus], protos: [ws@janus-protocol]}
        app: {upstream: 'http://127.0.0.1:3000', paths: [{/app: /}]}
  media: {proto: udp, net: {addr: '0.0.0.0:6001', enable_ice: true, candidate_ips: [203.0.113.7, '2001:db8::7']}}
";

const GOOD_REPORT: &str = "\
listen  web    http  127.0.0.1:8080  HTTP and WebSocket
listen  media  udp   0.0.0.0:6001    ICE, publishes 203.0.113.7:6001, [2001:db8::7]:6001
route   web.janus  ws@janus-protocol, /janus  → pool (rr http://127.0.0.1:8088, ws://127.0.0.1:8188)  janus, half proxy
route   web.app    /app→/                     → http://127.0.0.1:3000                                 plain
ok
";

#[test]
fn check_prints_what_would_listen_and_where_it_would_forward() {
    let output = xrtc("check", &[("r.yml", GOOD)], &["check", "-c", "r.yml"], &[]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), GOOD_REPORT);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn check_finds_the_file_by_environment_and_by_its_usual_name() {
    let by_environment = xrtc("env", &[("e.yml", GOOD)], &["check"], &[("XRTC_CONFIG", "e.yml")]);
    assert_eq!(text(&by_environment.stdout), GOOD_REPORT);
    let by_name = xrtc("name", &[("routes.yml", GOOD)], &["check"], &[]);
    assert_eq!(text(&by_name.stdout), GOOD_REPORT);
    let flag_wins =
        xrtc("flag", &[("r.yml", GOOD)], &["check", "-c", "r.yml"], &[("XRTC_CONFIG", "none.yml")]);
    assert_eq!(text(&flag_wins.stdout), GOOD_REPORT);
}

#[test]
fn check_prints_warnings_before_ok() {
    let file = "services:\n  u: {proto: udp, net: {adr: x, addr: '192.0.2.1:5000', enable_ice: true}}\n";
    let output = xrtc("warn", &[("r.yml", file)], &["check", "-c", "r.yml"], &[]);
    assert_eq!(
        text(&output.stdout),
        "listen  u  udp  192.0.2.1:5000  ICE, publishes 192.0.2.1:5000\n\n\
         r.yml:2:25: warning: services.u.net.adr: unknown key, ignored\n  \
         2 |   u: {proto: udp, net: {adr: x, addr: '192.0.2.1:5000', enable_ice: true}}\n    \
         |                         ^\n  \
         help: did you mean `addr`?\n\
         ok\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_bad_file_exits_with_1_and_says_where() {
    for args in [&["check", "-c", "r.yml"][..], &["run", "-c", "r.yml"], &["-c", "r.yml"]] {
        let file = "services:\n  web: {proto: http, net: {addr: nowhere}}\n";
        let output = xrtc(&format!("bad{}", args.len()), &[("r.yml", file)], args, &[]);
        let said = text(&output.stderr);
        assert!(said.starts_with("r.yml:2:34: error: services.web.net.addr: expected \"ip:port\""), "{said}");
        assert!(!said.contains('\x1b'), "colour without a terminal");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    }
}

#[test]
fn a_missing_file_exits_with_1_and_says_what_to_do() {
    let none = xrtc("none", &[], &[], &[]);
    assert!(text(&none.stderr).contains("xrtc -c FILE"), "{}", text(&none.stderr));
    assert_eq!(none.status.code(), Some(1));
    let named = xrtc("named", &[], &["check", "-c", "other.yml"], &[]);
    assert!(text(&named.stderr).starts_with("other.yml: cannot read"), "{}", text(&named.stderr));
    assert_eq!(named.status.code(), Some(1));
}

#[test]
fn a_candidate_name_without_address_exits_with_1() {
    let file = "services:\n  u: {proto: udp, net: {addr: ':1', enable_ice: true, candidate_ips: [nowhere.invalid]}}\n";
    let output = xrtc("resolve", &[("r.yml", file)], &["check", "-c", "r.yml"], &[]);
    let said = text(&output.stderr);
    assert!(
        said.starts_with(
            "r.yml:2:71: error: services.u.net.candidate_ips[0]: expected a name with an address"
        ),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn bad_usage_exits_with_2() {
    for args in
        [&["chek"][..], &["check", "--nope"], &["check", "-c"], &["run", "extra"], &["-c", "x", "check"]]
    {
        let output = xrtc("usage", &[("routes.yml", GOOD)], args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn help_has_examples_and_version_a_number() {
    let help = xrtc("help", &[], &["--help"], &[("XRTC_CONFIG", "private.yml")]);
    let said = text(&help.stdout);
    assert!(
        said.contains("xrtc check -c routes.yml") && said.contains("XRTC_LOG") && !said.contains("private"),
        "{said}"
    );
    assert_eq!(help.status.code(), Some(0));
    let version = xrtc("version", &[], &["--version"], &[]);
    assert_eq!(text(&version.stdout), concat!("xrtc ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_environment_expands_inside_the_file() {
    let file = GOOD.replace("127.0.0.1:8088", "${JANUS_HOST:-127.0.0.1}:${JANUS_PORT}");
    let set = xrtc("expand", &[("r.yml", &file)], &["check", "-c", "r.yml"], &[("JANUS_PORT", "8088")]);
    assert_eq!(text(&set.stdout), GOOD_REPORT);
    let unset = xrtc("unset", &[("r.yml", &file)], &["check", "-c", "r.yml"], &[]);
    assert!(
        text(&unset.stderr).starts_with("r.yml:2:70: error: services.pool.servers[0]:"),
        "{}",
        text(&unset.stderr)
    );
    assert!(Path::new(env!("CARGO_BIN_EXE_xrtc")).exists());
}

#[test]
fn a_udp_port_that_another_process_shares_with_others_is_refused_not_shared() {
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    taken.set_reuse_port(true).expect("an option");
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let addr = taken.local_addr().expect("an address").as_socket().expect("an IP address");
    let file = format!("services: {{media: {{proto: udp, net: {{addr: '{addr}', enable_ice: true}}}}}}\n");
    let out = xrtc("taken", &[("r.yml", &file)], &["run", "-c", "r.yml"], &[]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stderr);
    let expected = format!(
        "r.yml:1:44: error: services.media.net.addr: cannot listen on UDP {addr}: Address already in use"
    );
    assert_eq!(said.matches(&expected).count(), 1, "{said}");
    assert!(said.contains(&format!("help: `ss -lnup 'sport = :{}'`", addr.port())), "{said}");
    assert_eq!(said.matches("in use").count(), 1, "told once: {said}");
}

#[test]
fn a_tcp_port_that_is_taken_is_told_with_its_place_and_who_could_tell_more() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address");
    let file = format!("services:\n  web: {{proto: http, net: {{addr: '{addr}'}}}}\n");
    let out = xrtc("taken-tcp", &[("r.yml", &file)], &["run", "-c", "r.yml"], &[]);
    let said = text(&out.stderr);
    let expected = format!(
        "r.yml:2:34: error: services.web.net.addr: cannot listen on TCP {addr}: Address already in use"
    );
    assert_eq!((out.status.code(), said.matches(&expected).count()), (Some(1), 1), "{said}");
    assert!(said.contains(&format!("help: `ss -lntp 'sport = :{}'`", addr.port())), "{said}");
}

#[test]
fn check_looks_at_certificates_and_directories_and_warns() {
    let key = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((cert, own), (_, other)) = (key("a.example"), key("b.example"));
    let old = {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2020, 2, 29);
        let key = rcgen::KeyPair::from_pem(&own).expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    };
    let check = |name: &str, rest: &str| {
        let file = format!("services:\n  a:\n    proto: http\n    {rest}\n");
        let files =
            [("r.yml", &*file), ("c.pem", &*cert), ("k.pem", &*own), ("o.pem", &*other), ("old.pem", &*old)];
        let out = xrtc(name, &files, &["check", "-c", "r.yml"], &[]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let said = check("cert", "net: {addr: ':80', tls_crt_file: c.pem, tls_key_file: k.pem}");
    assert!(!said.contains("warning"), "{said}");
    for (name, files, expected) in [
        ("cert-other", "c.pem,o.pem", "the key o.pem does not belong to the certificate c.pem"),
        ("cert-none", "c.pem,n.pem", "n.pem: No such file or directory (os error 2)"),
        ("cert-text", "r.yml,k.pem", "r.yml: expected a PEM certificate, found none"),
        ("cert-old", "old.pem,k.pem", "old.pem: expired on 2020-02-29T00:00:00Z"),
        ("cert-key", "c.pem,c.pem", "c.pem: expected a PEM private key, found none"),
    ] {
        let (cert, key) = files.split_once(',').expect("two");
        let said = check(name, &format!("net: {{addr: ':80', tls_crt_file: {cert}, tls_key_file: {key}}}"));
        let place =
            "r.yml:4:38: warning: services.a.net.tls_crt_file: not usable, so TLS connections will fail: ";
        assert_eq!(said.matches(&format!("{place}{expected}\n")).count(), 1, "{said}");
    }
    let said = check("root", "net: {addr: ':80'}\n    http: {root: www}");
    assert!(said.contains("r.yml:5:18: warning: services.a.http.root: no such directory"), "{said}");
}

#[test]
fn a_word_that_is_no_level_is_refused_instead_of_silencing_the_log() {
    for (filter, word) in [("degub", "degub"), ("info,xrtc", "xrtc"), ("blub,debug", "blub")] {
        let out = xrtc("filter", &[("r.yml", GOOD)], &["run", "-c", "r.yml"], &[("XRTC_LOG", filter)]);
        let said = text(&out.stderr);
        assert!(said.contains("XRTC_LOG: expected a filter such as"), "{said}");
        assert!(said.contains(&format!("\"{word}\" is no level")), "{said}");
        assert_eq!(out.status.code(), Some(1));
    }
}
