use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

struct PassAll;

impl Judge for PassAll {
    fn judge(&self, _: Side, _: &[u8]) -> Verdict {
        Verdict::Pass
    }
}

/// Client and upstream of a relay that runs until it ends.
fn joined() -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<()>) {
    let (client, client_end) = duplex(1000);
    let (upstream, upstream_end) = duplex(1000);
    let task = tokio::spawn(async move {
        relay(client_end, upstream_end, &PassAll, 10_000, pending()).await;
    });
    (client, upstream, task)
}

#[tokio::test(start_paused = true)]
async fn a_side_that_never_answers_a_close_is_left_after_the_close_timeout() {
    let (mut client, _upstream, task) = joined();
    let started = Instant::now();
    let mut wire = BytesMut::new();
    encode(&close(4000, "bye"), Some([1; 4]), &mut wire);
    client.write_all(&wire).await.unwrap();
    let mut reader = Decoder::new(Sender::Server, 1000);
    while reader.next().unwrap().is_none() {
        assert!(client.read_buf(reader.buffer()).await.unwrap() > 0);
    }
    assert_eq!(started.elapsed(), CLOSE_TIMEOUT, "its own close comes back without the other side");
    task.await.unwrap();
    assert!(started.elapsed() <= CLOSE_TIMEOUT + LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_is_given_up() {
    let (mut client, _upstream, task) = joined();
    let started = Instant::now();
    let mut wire = BytesMut::new();
    encode(&Message::Binary(Bytes::from(vec![0; 5000])), Some([1; 4]), &mut wire);
    client.write_all(&wire).await.unwrap();
    task.await.unwrap();
    let patience = WRITE_TIMEOUT..=WRITE_TIMEOUT + CLOSE_TIMEOUT * 2 + LINGER;
    assert!(patience.contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_one_direction_ended_waits_a_moment_for_the_other() {
    let (mut client, client_end) = duplex(1000);
    let (mut upstream, upstream_end) = duplex(1000);
    let task = tokio::spawn(tunnel(client_end, upstream_end, pending()));
    client.shutdown().await.unwrap();
    upstream.write_all(b"last words").await.unwrap();
    let mut heard = [0; 10];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"last words");
    let started = Instant::now();
    task.await.unwrap();
    assert_eq!(started.elapsed(), CLOSE_TIMEOUT);
}
