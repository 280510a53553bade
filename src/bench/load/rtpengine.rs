//! Sessions through rtpengine: an offer and an answer per pair over its control protocol (bencode over UDP), ICE taken out.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::pair::{End, Pair};
use crate::bench::bare::CLIENTS;
use crate::bench::{BenchError, Doing, datagrams};

/// For one answer, and how often it is asked for.
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

/// Makes a call per pair, and connects both ends to the ports that they are given.
pub(super) fn call(pairs: &[Pair], at: SocketAddr) -> Result<(), BenchError> {
    let addr = SocketAddrV4::new(CLIENTS, 0);
    let socket = datagrams::bind(addr).doing(|| "cannot open a control socket".to_owned())?;
    let control = End { socket, addr, key: None };
    control.connect(at)?;
    for (i, pair) in pairs.iter().enumerate() {
        // Each description comes back with the port that the other side shall send to.
        let for_backend = ask(&control, i, "offer", pair.client.addr)?;
        let for_client = ask(&control, i, "answer", pair.backend.addr)?;
        pair.backend.connect(SocketAddr::new(at.ip(), for_backend))?;
        pair.client.connect(SocketAddr::new(at.ip(), for_client))?;
    }
    Ok(())
}

fn ask(control: &End, i: usize, command: &str, addr: SocketAddrV4) -> Result<u16, BenchError> {
    let request = format!("{command}{i} {}", request(i, command, addr));
    let mut buffer = [0; 8192];
    for _ in 0..TRIES {
        // Lost requests are repeated; rtpengine knows them by their cookie.
        let _ = control.socket.send(request.as_bytes());
        let Some((bytes, _)) = control.wait(&mut buffer, PATIENCE) else { continue };
        let text = String::from_utf8_lossy(bytes);
        return audio_port(&text).ok_or_else(|| failed(&format!("its answer has no audio port: {text}")));
    }
    Err(failed("no answer"))
}

/// A dictionary with keys in order, as bencode wants it.
fn request(i: usize, command: &str, addr: SocketAddrV4) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=rtcp-mux\r\n"
    );
    let call = format!("load{i}");
    let mut entries = vec![
        ("ICE", "remove"),
        ("call-id", &call),
        ("command", command),
        ("from-tag", "client"),
        ("sdp", &sdp),
    ];
    if command == "answer" {
        entries.push(("to-tag", "backend"));
    }
    let entries = entries.iter().map(|(key, value)| format!("{}:{key}{}:{value}", key.len(), value.len()));
    format!("d{}e", entries.collect::<String>())
}

fn audio_port(answer: &str) -> Option<u16> {
    answer.split_once("m=audio ")?.1.split(' ').next()?.parse().ok()
}

fn failed(what: &str) -> BenchError {
    BenchError::Peer { who: "rtpengine", what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_bencoded() {
        let text = request(7, "offer", SocketAddrV4::new(CLIENTS, 5004));
        assert!(
            text.starts_with("d3:ICE6:remove7:call-id5:load77:command5:offer8:from-tag6:client3:sdp"),
            "{text}"
        );
        assert!(text.ends_with("a=rtcp-mux\r\ne"), "{text}");
    }

    #[test]
    fn the_port_is_read_from_an_answer() {
        let answer = "offer0 d6:result2:ok3:sdp90:v=0\r\nm=audio 30012 RTP/AVP 96\r\na=rtcp-mux\r\ne";
        assert_eq!(audio_port(answer), Some(30_012));
        assert_eq!(audio_port("offer0 d6:result5:errore"), None);
    }
}
