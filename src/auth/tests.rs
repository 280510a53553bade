//! The chain of sources: tables, secrets, webhook; what is cached and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Scheme, ServerUrl};

fn auth(users: &[(&str, &str)], secrets: &[&str]) -> Auth {
    Auth {
        users: users.iter().map(|(user, password)| ((*user).into(), Secret::new(*password))).collect(),
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        ..Auth::default()
    }
}

fn query(username: &str) -> Query<'_> {
    Query { username, purpose: Purpose::Turn, room: None, remote: [192, 0, 2, 1].into() }
}

async fn login(store: &Store, username: &str, password: &str) -> Result<(), Rejection> {
    store.login(&query(username), password).await
}

#[tokio::test]
async fn a_user_of_the_table_comes_in_with_his_password_alone() {
    let store = Store::new(&auth(&[("john", "s3cr3t")], &[])).unwrap();
    assert_eq!(login(&store, "john", "s3cr3t").await, Ok(()));
    assert_eq!(login(&store, "john", "s3cr3").await, Err(Rejection::WrongPassword));
    assert_eq!(login(&store, "john", "").await, Err(Rejection::WrongPassword));
    assert_eq!(login(&store, "jane", "s3cr3t").await, Err(Rejection::UnknownUser));
    assert_eq!(login(&store, &"j".repeat(509), "s3cr3t").await, Err(Rejection::UnknownUser));
}

#[tokio::test]
async fn without_a_source_nobody_comes_in() {
    let store = Store::new(&Auth::default()).unwrap();
    assert!(!store.has_sources());
    assert_eq!(login(&store, "john", "").await, Err(Rejection::UnknownUser));
}

#[tokio::test]
async fn one_password_for_all_still_gives_way_to_the_table() {
    let one = Auth { password: Some(Secret::new("all")), ..auth(&[("john", "own")], &[]) };
    let store = Store::new(&one).unwrap();
    assert_eq!(login(&store, "anybody", "all").await, Ok(()));
    assert_eq!(login(&store, "john", "all").await, Err(Rejection::WrongPassword));
    assert_eq!(login(&store, "john", "own").await, Ok(()));
}

#[tokio::test]
async fn what_was_minted_is_good_until_it_expires_under_every_secret_in_use() {
    let store = Store::new(&auth(&[], &["new", "old"])).unwrap();
    for secret in ["new", "old"] {
        let minted = mint(&Secret::new(secret), "alice", unix_now() + 60);
        assert_eq!(login(&store, &minted.username, minted.password.expose()).await, Ok(()));
        let late = mint(&Secret::new(secret), "alice", unix_now());
        assert_eq!(login(&store, &late.username, late.password.expose()).await, Err(Rejection::Expired));
    }
    let foreign = mint(&Secret::new("other"), "alice", unix_now() + 60);
    let refused = login(&store, &foreign.username, foreign.password.expose()).await;
    assert_eq!(refused, Err(Rejection::WrongPassword));
}

#[test]
fn minting_gives_what_other_implementations_give() {
    // python3: base64.b64encode(hmac.new(b"north", b"1433895918:alice", hashlib.sha1).digest())
    let minted = mint(&Secret::new("north"), "alice", 1_433_895_918);
    assert_eq!(minted.username, "1433895918:alice");
    assert_eq!(minted.password.expose(), "RqMvcGPYTJMGThVLSi4amT4zFtI=");
}

#[test]
fn only_names_that_start_with_a_time_are_for_the_secrets() {
    let sources = Sources::new(&auth(&[], &["secret"]));
    for name in ["2000000000", "2000000000:a:b", "99999999999999999999999:x"] {
        assert!(matches!(sources.find(name, 1_000_000_000), Some(Ok(_))), "{name}");
    }
    for name in ["", ":x", "alice", "+2000000000:x", "2000000000x", "x:2000000000"] {
        assert!(sources.find(name, 0).is_none(), "{name}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let store = auth(&[("john", "s3cr3t")], &["rest"]);
    let shown = format!("{store:?} {:?}", mint(&Secret::new("rest"), "x", 1));
    assert!(!shown.contains("s3cr3t") && !shown.contains("\"rest\""), "{shown}");
}

#[test]
fn the_cache_stays_within_its_bound_and_forgets_in_time() {
    let cache = Cache::new(100);
    let now = Instant::now();
    for i in 0..10_000 {
        cache.put(&query(&i.to_string()), Ok(Secret::new("x")), now + KEEP);
    }
    let kept = (0..10_000).filter(|i: &i32| cache.get(&query(&i.to_string()), now).is_some()).count();
    assert!((50..=100).contains(&kept), "{kept}");
    assert!(cache.get(&query("9999"), now + KEEP).is_none());
    cache.put(&query("9999"), Err(Rejection::SourceFailed), now + KEEP);
    assert_eq!(cache.get(&query("9999"), now).unwrap().unwrap_err(), Rejection::SourceFailed);
}

/// Answers every request with the same bytes; counts them.
async fn hook(answer: &'static str) -> (ServerUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 2048];
            let n = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..n]).into_owned();
            assert!(text.starts_with("POST /auth?x=1 HTTP/1.1\r\n"), "{text}");
            assert!(
                text.contains(r#"{"username":"eve","purpose":"turn","remote_addr":"192.0.2.1"}"#),
                "{text}"
            );
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let url = ServerUrl {
        scheme: Scheme::Http,
        host: "127.0.0.1".into(),
        port,
        path: "/auth".into(),
        query: "x=1".into(),
    };
    (url, asked)
}

async fn with_hook(answer: &'static str) -> (Store, Arc<AtomicUsize>) {
    let (url, asked) = hook(answer).await;
    (Store::new(&Auth { webhook: Some(url), ..Auth::default() }).unwrap(), asked)
}

#[tokio::test]
async fn the_webhook_is_asked_once_and_its_answer_is_kept() {
    let (store, asked) =
        with_hook("HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"password\":\"pw\"}\n").await;
    assert!(matches!(store.known(&query("eve")), Known::Ask));
    for _ in 0..3 {
        assert_eq!(login(&store, "eve", "pw").await, Ok(()));
        assert_eq!(login(&store, "eve", "no").await, Err(Rejection::WrongPassword));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(matches!(store.known(&query("eve")), Known::Passwords(_)));
}

#[tokio::test]
async fn everything_but_a_good_answer_is_a_refusal() {
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Rejection::UnknownUser),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Rejection::SourceFailed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnon", Rejection::SourceFailed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", Rejection::SourceFailed),
        ("garbage\r\n\r\n", Rejection::SourceFailed),
    ] {
        let (store, asked) = with_hook(answer).await;
        assert_eq!(login(&store, "eve", "pw").await, Err(expected), "{answer}");
        assert_eq!(login(&store, "eve", "pw").await, Err(expected), "{answer}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "a refusal is kept for a moment: {answer}");
    }
}

#[tokio::test]
async fn a_webhook_that_hangs_is_a_refusal_after_two_seconds_and_holds_up_only_so_many() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl {
        scheme: Scheme::Http,
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        path: String::new(),
        query: String::new(),
    };
    let store = Store::new(&Auth { webhook: Some(url), ..Auth::default() }).unwrap();
    let start = Instant::now();
    let names: Vec<String> = (0..ASKED_AT_ONCE + 10).map(|i| format!("user{i}")).collect();
    let asked = names.iter().map(|name| login(&store, name, "x"));
    let answers = futures_util::future::join_all(asked).await;
    let busy = answers.iter().filter(|answer| **answer == Err(Rejection::Busy)).count();
    assert_eq!(busy, 10);
    assert_eq!(answers.iter().filter(|a| **a == Err(Rejection::SourceFailed)).count(), ASKED_AT_ONCE);
    // One after the other they would take a minute; a busy machine stalls for seconds.
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_reload_forgets_users_and_answers() {
    let (store, _) = with_hook("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"password\":\"pw\"}").await;
    assert_eq!(login(&store, "eve", "pw").await, Ok(()));
    store.renew(&auth(&[("john", "s3cr3t")], &[])).unwrap();
    assert_eq!(login(&store, "eve", "pw").await, Err(Rejection::UnknownUser));
    assert_eq!(login(&store, "john", "s3cr3t").await, Ok(()));
}
