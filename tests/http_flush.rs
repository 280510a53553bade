//! No part of an answer or a request waits at the edge, whatever the flush intervals say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

/// Less than any usual flush interval; what passes at once takes less than a millisecond.
const AT_ONCE: Duration = Duration::from_millis(90);

#[tokio::test]
async fn each_part_of_an_answer_passes_at_once() {
    for path in ["/p", "/d"] {
        for accept in ["text/event-stream", "*/*"] {
            let next = Arc::new(Notify::new());
            let upstream = part_by_part(next.clone()).await;
            let mut config = http(vec![plain("/p", upstream.addr), read("/d", upstream.addr)]);
            config.upstream.flush_interval = Duration::from_secs(10);
            config.upstream.global_flush_interval = Duration::from_secs(10);
            let edge = Edge::start(config).await;
            let mut asked = request("GET", path, full(""));
            asked.headers_mut().insert("accept", accept.parse().unwrap());
            let started = Instant::now();
            let mut body = Client::connect(edge.addr).await.send(asked).await.unwrap().into_body();
            assert!(started.elapsed() < AT_ONCE, "the head waited {:?}", started.elapsed());
            for _ in 0..5 {
                let started = Instant::now();
                next.notify_one();
                let part = in_time(body.frame()).await.unwrap().unwrap().into_data().unwrap();
                assert!(started.elapsed() < AT_ONCE, "waited {:?}", started.elapsed());
                assert_eq!(part, "x");
            }
            drop(body);
            edge.stop().await;
        }
    }
}

#[tokio::test]
async fn each_part_of_a_request_passes_at_once() {
    let (seen, mut parts) = mpsc::channel(8);
    let upstream = Upstream::raw(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            read_head(&mut stream).await;
            let mut part = [0; 100];
            while let Ok(size @ 1..) = stream.read(&mut part).await {
                seen.send(size).await.unwrap();
            }
        }
    })
    .await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    let (write, written) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(written, |mut written| async move {
        Some((Ok(Frame::data(written.recv().await?)), written))
    });
    let mut client = Client::connect(edge.addr).await;
    let body = StreamBody::new(frames).boxed();
    let sending = tokio::spawn(async move { client.send(request("POST", "/", body)).await.is_ok() });
    for _ in 0..5 {
        let started = Instant::now();
        write.send(Bytes::from_static(b"part")).await.unwrap();
        let mut size = 0;
        while size < "4\r\npart\r\n".len() {
            size += in_time(parts.recv()).await.unwrap();
        }
        assert!(started.elapsed() < AT_ONCE, "waited {:?}", started.elapsed());
    }
    sending.abort();
    edge.stop().await;
}

/// An upstream that sends one more part of its answer whenever it is told to.
async fn part_by_part(next: Arc<Notify>) -> Upstream {
    Upstream::raw(move |mut stream, _| {
        let next = next.clone();
        async move {
            read_head(&mut stream).await;
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            loop {
                next.notified().await;
                if stream.write_all(b"1\r\nx\r\n").await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}
