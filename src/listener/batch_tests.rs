//! Real sockets on loopback: what the kernel does with the batches.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

fn pair(any: &str) -> (UdpSocket, UdpSocket) {
    let a = UdpSocket::bind(any).expect("bind");
    let b = UdpSocket::bind(any).expect("bind");
    b.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    (a, b)
}

fn receive(receiver: &mut Receiver, socket: &UdpSocket) -> Vec<(SocketAddr, Vec<u8>)> {
    for _ in 0..200 {
        match receiver.receive(socket.as_raw_fd()) {
            Ok(n) => {
                return (0..n)
                    .filter_map(|i| receiver.datagram(i))
                    .flat_map(|d| d.segments().map(move |s| (d.from, s)).collect::<Vec<_>>())
                    .map(|(from, segment)| (from, receiver.packet(segment).to_vec()))
                    .collect();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => panic!("{e}"),
        }
    }
    panic!("nothing arrived")
}

fn bounce(any: &str, sizes: &[usize], offload: bool) {
    let (client, server) = pair(any);
    let (target, sink) = pair(any);
    if offload {
        set_option(server.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).expect("gro");
    }
    let packets: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n]).collect();
    for packet in &packets {
        client.send_to(packet, server.local_addr().expect("addr")).expect("send");
    }
    let mut receiver = Receiver::new();
    let n = receiver.receive(server.as_raw_fd()).expect("receive");
    let to = sink.local_addr().expect("addr");
    let queue: Vec<Outgoing> = (0..n)
        .filter_map(|i| receiver.datagram(i))
        .inspect(|d| assert_eq!(d.from, client.local_addr().expect("addr")))
        .flat_map(|d| d.segments().collect::<Vec<_>>())
        .map(|(offset, len)| Outgoing { to, local: None, offset, len })
        .collect();
    assert_eq!(queue.len(), sizes.len());
    let sent = Sender::new().send(target.as_raw_fd(), &receiver, &queue, offload);
    assert_eq!(Sent { messages: 0, ..sent }, Sent::default());
    for packet in &packets {
        let mut buf = [0; 65_536];
        let n = sink.recv(&mut buf).expect("forwarded");
        assert_eq!(&buf[..n], &packet[..]);
    }
}

#[test]
fn runs_keep_order_sizes_and_bytes_with_and_without_offload_on_both_families() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        for offload in [false, true] {
            bounce(any, &[100], offload);
            bounce(any, &[1200; 20], offload);
            bounce(any, &[1200, 1200, 1200, 300, 1200, 1200, 17, 0, 5], offload);
            bounce(any, &[1, 2, 3, 4, 5, 4, 4, 4], offload);
            bounce(any, &[60_000], offload);
        }
    }
}

#[test]
fn a_run_ends_at_another_destination_a_longer_packet_and_the_kernels_limits() {
    let a: SocketAddr = "10.0.0.1:1".parse().expect("addr");
    let b: SocketAddr = "10.0.0.1:2".parse().expect("addr");
    let run = |list: &[(SocketAddr, usize)]| {
        let queue: Vec<_> =
            list.iter().map(|(to, len)| Outgoing { to: *to, local: None, offset: 0, len: *len }).collect();
        run_length(&queue)
    };
    assert_eq!(run(&[(a, 9)]), 1);
    assert_eq!(run(&[(a, 9), (a, 9), (b, 9)]), 2);
    assert_eq!(run(&[(a, 9), (a, 10)]), 1);
    assert_eq!(run(&[(a, 9), (a, 8), (a, 8)]), 2);
    assert_eq!(run(&[(a, 9), (a, 0)]), 1);
    assert_eq!(run(&vec![(a, 9); 200]), MAX_SEGMENTS);
    assert_eq!(run(&vec![(a, 1400); 64]), 46);
}

#[test]
fn the_local_address_of_a_wildcard_socket_is_known_and_can_be_answered_from() {
    let server = UdpSocket::bind("0.0.0.0:0").expect("bind");
    set_option(server.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1).expect("pktinfo");
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    client.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    let port = server.local_addr().expect("addr").port();
    let other = SocketAddr::from(([127, 0, 0, 9], port));
    client.send_to(b"hello", other).expect("send");
    let mut receiver = Receiver::new();
    receive(&mut receiver, &server);
    let datagram = receiver.datagram(0).expect("datagram");
    assert_eq!(datagram.local, Some(other.ip()));
    let (offset, len) = datagram.segments().next().expect("one");
    let queue = [Outgoing { to: datagram.from, local: datagram.local, offset, len }];
    let sent = Sender::new().send(server.as_raw_fd(), &receiver, &queue, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent::default());
    let mut buf = [0; 16];
    assert_eq!(client.recv_from(&mut buf).expect("answer").1, other);
}

#[test]
fn a_datagram_that_the_kernel_refuses_costs_only_itself() {
    let (a, b) = pair("127.0.0.1:0");
    let receiver = Receiver::new();
    let good = b.local_addr().expect("addr");
    let bad: SocketAddr = "255.255.255.255:9".parse().expect("addr");
    let queue =
        [(good, 5), (bad, 5), (good, 6)].map(|(to, len)| Outgoing { to, local: None, offset: 0, len });
    let sent = Sender::new().send(a.as_raw_fd(), &receiver, &queue, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent { refused: 1, ..Sent::default() });
    let mut buf = [0; 16];
    assert_eq!(b.recv(&mut buf).expect("first"), 5);
    assert_eq!(b.recv(&mut buf).expect("third"), 6);
}
