//! How long the HTTP server waits for slow clients, on a clock that jumps to whatever is awaited next.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::sync::Arc;
use std::time::Duration;

use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::Instant;
use xrtc::http::{Arrival, HttpService, Phase, serve_connection};

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_its_head_byte_by_byte_is_cut_off() {
    let mut client = connect();
    let started = Instant::now();
    let mut answer = Vec::new();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if client.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    trickle.await;
    let _ = client.read_to_end(&mut answer).await;
    assert!((60..63).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_kept_connection_outlives_the_pauses_of_a_janus_client() {
    let mut client = connect();
    for pause in [25, 30, 50] {
        client.write_all(b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], b"404");
        let rest = async { while client.read_u8().await.is_ok() {} };
        assert!(
            tokio::time::timeout(Duration::from_secs(pause), rest).await.is_err(),
            "closed within {pause} s"
        );
    }
    let started = Instant::now();
    let _ = client.read_to_end(&mut Vec::new()).await;
    assert!(started.elapsed() <= Duration::from_secs(10), "an idle connection stayed open");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_dialect_waits_for_is_408_when_it_does_not_come() {
    let mut client = connect();
    let started = Instant::now();
    client.write_all(b"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[9..], b"408");
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn dialects_are_swept_every_five_seconds_until_the_stop() {
    let (service, record) = routed();
    let (phase, seen) = watch::channel(Phase::Serving);
    let sweeper = tokio::spawn(async move { service.sweep(seen).await });
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(record.entries(), ["sweep"; 3]);
    phase.send(Phase::Draining).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(record.entries().len(), 4, "sessions are kept up while draining");
    phase.send(Phase::Stopping).unwrap();
    sweeper.await.unwrap();
}

fn routed() -> (Arc<HttpService>, Record) {
    service(&http(vec![read("/read", "192.0.2.1:9".parse().unwrap())]), &[])
}

/// The client's end of a connection to the edge.
fn connect() -> DuplexStream {
    let (client, server) = duplex(1 << 16);
    let (phase, seen) = watch::channel(Phase::Serving);
    let addr = "192.0.2.2:5000".parse().unwrap();
    let arrival = Arrival { peer: addr, local: addr, tls: None };
    tokio::spawn(async move {
        serve_connection(server, arrival, routed().0, seen).await;
        drop(phase);
    });
    client
}
