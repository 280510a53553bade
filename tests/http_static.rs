//! Static files: what a path names, what it never reaches, and how parts of a file are served.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xrtc::config::Http;

const SECRET: &str = "nobody outside may read this";

#[tokio::test]
async fn files_have_their_type_and_directories_their_index() {
    let (edge, _) = serving("static_types").await;
    for (path, kind, body) in [
        ("/", "text/html", "<p>index"),
        ("/index.html", "text/html", "<p>index"),
        ("/?x=1", "text/html", "<p>index"),
        ("/app.js", "text/javascript", "let x;"),
        ("/a%20b.txt", "text/plain", "with a space"),
        ("/%61pp.js", "text/javascript", "let x;"),
        ("/sub/", "text/html", "<p>sub"),
        ("/inside.txt", "text/plain", "0123456789"),
        ("/data", "application/octet-stream", "no extension"),
        ("/.well-known/security.txt", "text/plain", "well known"),
    ] {
        let answer = raw(edge.addr, "GET", path, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
        let head = raw(edge.addr, "HEAD", path, "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.head.contains(&format!("content-length: {}", body.len())), "{}", head.head);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_directory_without_its_slash_is_sent_there_and_stays_on_this_host() {
    let (edge, _) = serving("static_slash").await;
    let answer = raw(edge.addr, "GET", "/sub?q=1", "").await;
    assert_eq!(answer.status, 308);
    assert!(answer.head.contains("location: /sub/?q=1\r\n"), "{}", answer.head);
    for path in ["//sub", "//evil.test/sub", "/%2fsub", "/sub/%2e%2e/sub"] {
        let answer = raw(edge.addr, "GET", path, "").await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.head);
    }
    edge.stop().await;
}

#[tokio::test]
async fn parts_of_a_file_and_conditions_are_served() {
    let (edge, _) = serving("static_ranges").await;
    for (range, status, said, body) in [
        ("bytes=0-3", 206, "content-range: bytes 0-3/10", "0123"),
        ("bytes=7-", 206, "content-range: bytes 7-9/10", "789"),
        ("bytes=-2", 206, "content-range: bytes 8-9/10", "89"),
        ("bytes=5-99", 206, "content-range: bytes 5-9/10", "56789"),
        ("bytes=10-", 416, "content-range: bytes */10", ""),
    ] {
        let answer = raw(edge.addr, "GET", "/inside.txt", &format!("Range: {range}\r\n")).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{range}");
        assert!(answer.head.contains(said), "{range}: {}", answer.head);
    }
    let first = raw(edge.addr, "GET", "/inside.txt", "").await;
    assert!(first.head.contains("accept-ranges: bytes"), "{}", first.head);
    let modified = header(&first.head, "last-modified");
    for condition in [
        format!("If-Modified-Since: {modified}\r\n"),
        format!("If-None-Match: {}\r\n", header(&first.head, "etag")),
    ] {
        let again = raw(edge.addr, "GET", "/inside.txt", &condition).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{condition}");
    }
    let old = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    assert_eq!(raw(edge.addr, "GET", "/inside.txt", old).await.status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_root() {
    let (edge, root) = serving("static_hostile").await;
    symlink(root.parent().unwrap().join("secret.txt"), root.join("link.txt")).unwrap();
    symlink(root.parent().unwrap(), root.join("up")).unwrap();
    symlink("../secret.txt", root.join("sub/link.txt")).unwrap();
    symlink("/etc", root.join("etc")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("inside.txt", root.join("within.txt")).unwrap();
    let deep = format!("/{}", "a/".repeat(5000));
    let long = format!("/{}", "a".repeat(20_000));
    for path in [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/.%2e/secret.txt",
        "/%252e%252e/secret.txt",
        "/sub/../../secret.txt",
        "/sub/..%2f..%2fsecret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/sub\\..\\..\\secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/%c0%ae%c0%ae%c0%afsecret.txt",
        "/%uff0e%uff0e/secret.txt",
        "/inside.txt%00.html",
        "/%00",
        "/%",
        "/%2",
        "/%zz",
        "//etc/passwd",
        "///etc/passwd",
        "/%2fetc/passwd",
        "/etc/passwd",
        "/link.txt",
        "/up/secret.txt",
        "/sub/link.txt",
        "/loop",
        "/.hidden",
        "/.git/config",
        "/sub/.hidden",
        "/%2ehidden",
        "/.",
        "/./inside.txt",
        "/sub/./",
        "/inside.txt/",
        "/inside.txt/x",
        "/pipe",
        "/empty/",
        "/empty",
        "/missing",
        &deep,
        &long,
    ] {
        let answer = raw(edge.addr, "GET", path, "").await;
        let shown = &path[..path.len().min(60)];
        assert!(matches!(answer.status, 400 | 404), "{shown}: {} {}", answer.status, answer.body);
        assert!(!answer.body.contains(SECRET) && !answer.body.contains("root:"), "{shown}");
    }
    assert_eq!(
        raw(edge.addr, "GET", "/within.txt", "").await.status,
        200,
        "a link inside of the root is fine"
    );
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(raw(edge.addr, method, "/inside.txt", "Content-Length: 0\r\n").await.status, 404);
    }
    edge.stop().await;
}

#[tokio::test]
async fn routes_come_before_files_and_upgrades_get_none() {
    let upstream = Upstream::start(echo).await;
    let root = tree("static_order");
    let edge = Edge::start(Http { root: Some(root), ..http(vec![plain("/app", upstream.addr)]) }).await;
    assert_eq!(ask(edge.addr, "GET", "/app.js", "").await.1, "GET /app.js -/- ");
    assert_eq!(ask(edge.addr, "GET", "/inside.txt", "").await, (200, "0123456789".to_owned()));
    let upgrade = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    assert_eq!(raw(edge.addr, "GET", "/inside.txt", upgrade).await.status, 404);
    edge.stop().await;
}

#[tokio::test]
async fn a_page_is_reloaded_although_its_route_has_set_a_cookie() {
    let (group, _upstreams) = named_group(1).await;
    let root = tree("static_sticky");
    let config = Http { root: Some(root), ..http(vec![in_group("/janus")]) };
    let edge = Edge::with_groups(config, &[group]).await;
    let first = raw(edge.addr, "GET", "/janus", "").await;
    let cookie = header(&first.head, "set-cookie");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(raw(edge.addr, "GET", "/", &cookie).await.body, "<p>index");
    assert_eq!(raw(edge.addr, "GET", "/no-such-file", &cookie).await.body, "0", "the session's route");
    assert_eq!(raw(edge.addr, "GET", "/no-such-file", "").await.status, 404);
    edge.stop().await;
}

#[tokio::test]
async fn a_root_that_is_not_there_yet_is_404_until_it_is() {
    let root = scratch("static_late").join("www");
    let edge = Edge::start(Http { root: Some(root.clone()), ..http(Vec::new()) }).await;
    assert_eq!(ask(edge.addr, "GET", "/", "").await.0, 404);
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("index.html"), "here").unwrap();
    assert_eq!(ask(edge.addr, "GET", "/", "").await, (200, "here".to_owned()));
    edge.stop().await;
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// The path goes out as it is written.
async fn raw(addr: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let asked = format!("{method} {path} HTTP/1.1\r\nHost: edge\r\n{headers}");
    let close = if headers.contains("Upgrade") { "\r\n" } else { "Connection: close\r\n\r\n" };
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream.write_all(close.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: format!("{head}\r\n"), body: body.to_owned() }
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
}

async fn serving(name: &str) -> (Edge, PathBuf) {
    let root = tree(name);
    (Edge::start(Http { root: Some(root.clone()), ..http(Vec::new()) }).await, root)
}

/// A root with a secret beside it.
fn tree(name: &str) -> PathBuf {
    let outer = scratch(name);
    let root = outer.join("www");
    let write = |path: &str, text: &str| {
        let file = root.join(Path::new(path));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("index.html", "<p>index");
    write("app.js", "let x;");
    write("a b.txt", "with a space");
    write("inside.txt", "0123456789");
    write("data", "no extension");
    write("sub/index.html", "<p>sub");
    write(".hidden", SECRET);
    write("sub/.hidden", SECRET);
    write(".git/config", SECRET);
    write(".well-known/security.txt", "well known");
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(outer.join("secret.txt"), SECRET).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(pipe.success());
    root
}
