//! Real sockets on loopback: what the kernel does with the batches.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::runs::{MAX_SEGMENTS, Runs};
use super::sender::{Sent, says_never};
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
            Ok(new) => {
                return new
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
    let new = receiver.receive(server.as_raw_fd()).expect("receive");
    let to = sink.local_addr().expect("addr");
    let queue: Vec<Outgoing> = new
        .filter_map(|i| receiver.datagram(i))
        .inspect(|d| assert_eq!(d.from, client.local_addr().expect("addr")))
        .flat_map(|d| d.segments().collect::<Vec<_>>())
        .map(|(offset, len)| Outgoing { to, local: None, offset, len, head: Head::Empty })
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

/// Members of each run, in the order of sending.
fn grouped(list: &[(SocketAddr, usize)]) -> Vec<Vec<usize>> {
    let queue: Vec<_> = list
        .iter()
        .map(|(to, len)| Outgoing { to: *to, local: None, offset: 0, len: *len, head: Head::Empty })
        .collect();
    let mut runs = Runs::default();
    runs.group(&queue, true);
    runs.runs.iter().map(|run| runs.members(*run).collect()).collect()
}

#[test]
fn what_stands_between_does_not_split_a_run_and_no_destination_is_reordered() {
    let [a, b]: [SocketAddr; 2] = ["10.0.0.1:1", "10.0.0.1:2"].map(|addr| addr.parse().expect("addr"));
    assert_eq!(grouped(&[(a, 9), (b, 9), (a, 9), (b, 9), (a, 9)]), [vec![0, 2, 4], vec![1, 3]]);
    // A shorter one ends the run; what follows starts another behind it, also past a run to somebody else.
    assert_eq!(grouped(&[(a, 9), (b, 9), (a, 5), (a, 9), (a, 9)]), [vec![0, 2], vec![1], vec![3, 4]]);
    assert_eq!(grouped(&[(a, 9), (a, 12), (b, 1), (a, 12), (a, 9)]), [vec![0], vec![1, 3, 4], vec![2]]);
    let many: Vec<_> = (0..40).map(|n: u16| (SocketAddr::from(([10, 0, 0, 1], 1 + n % 20)), 9)).collect();
    let runs = grouped(&many);
    assert_eq!(runs.len(), 40, "too many between: alone, but in order");
    assert!(runs.iter().flatten().is_sorted());
}

#[test]
fn grouping_keeps_every_datagram_once_and_every_destinations_order() {
    let mut state = 7u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..500 {
        let (destinations, sizes) = (1 + next(12), 1 + next(4));
        let list: Vec<_> = (0..1 + next(300))
            .map(|_| {
                (SocketAddr::from(([10, 0, 0, 1], 1 + next(destinations) as u16)), next(sizes) as usize * 9)
            })
            .collect();
        let runs = grouped(&list);
        let sent: Vec<usize> = runs.iter().flatten().copied().collect();
        let mut all = sent.clone();
        all.sort_unstable();
        assert_eq!(all, (0..list.len()).collect::<Vec<_>>(), "round {round}");
        for port in 1..=destinations as u16 {
            assert!(sent.iter().filter(|i| list[**i].0.port() == port).is_sorted(), "round {round}");
        }
        for run in &runs {
            let sizes: Vec<usize> = run.iter().map(|i| list[*i].1).collect();
            let (last, others) = sizes.split_last().expect("nobody runs alone without itself");
            assert!(others.iter().all(|size| *size == sizes[0]) && *last <= sizes[0], "round {round}");
        }
    }
}

#[test]
fn a_run_that_the_kernel_refuses_leaves_datagram_by_datagram_and_says_so() {
    // Without checksums the kernel takes no GSO send: EINVAL or EIO, as its version has it.
    let (target, sink) = pair("127.0.0.1:0");
    set_option(target.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("no checksums");
    let receiver = Receiver::new();
    let to = sink.local_addr().expect("addr");
    let queue: Vec<_> =
        (0..5).map(|i| Outgoing { to, local: None, offset: i * 100, len: 100, head: Head::Empty }).collect();
    let mut sender = Sender::new();
    let sent = sender.send(target.as_raw_fd(), &receiver, &queue, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent { offload_broken: true, ..Sent::default() });
    for _ in 0..5 {
        assert_eq!(sink.recv(&mut [0; 2000]).expect("forwarded"), 100);
    }
}

#[test]
fn a_run_refused_for_its_size_does_not_cost_the_socket_its_offload() {
    assert!(says_never(Some(libc::EIO), 9_000));
    assert!(says_never(Some(libc::EINVAL), 1_200));
    assert!(!says_never(Some(libc::EINVAL), 9_000), "perhaps only for its size");
    assert!(!says_never(Some(libc::EMSGSIZE), 1_200), "the path's MTU");
    assert!(!says_never(Some(libc::ECONNREFUSED), 1_200));
}

#[test]
fn what_lies_side_by_side_leaves_as_one_piece_and_several_calls_fill_one_batch() {
    let (client, server) = pair("127.0.0.1:0");
    let (target, sink) = pair("127.0.0.1:0");
    set_option(server.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).expect("gro");
    let mut source = Receiver::new();
    let (offset, _) = source.load(&[7; 3_000]);
    let to = server.local_addr().expect("addr");
    let queue = [0, 1, 2].map(|i| Outgoing {
        to,
        local: None,
        offset: offset + i * 1000,
        len: 1000,
        head: Head::Empty,
    });
    let mut sender = Sender::new();
    let sent = sender.send(client.as_raw_fd(), &source, &queue, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent::default());
    client.send_to(b"more", to).expect("send");
    let mut receiver = Receiver::new();
    let first = receiver.receive(server.as_raw_fd()).expect("receive");
    client.send_to(b"and more", to).expect("send");
    let second = receiver.receive(server.as_raw_fd()).expect("receive");
    assert_eq!((first.start, first.end, second.end), (0, second.start, first.end + 1));
    let sizes: Vec<usize> =
        (0..second.end).flat_map(|i| receiver.datagram(i).expect("one").segments()).map(|s| s.1).collect();
    assert_eq!(sizes, [1000, 1000, 1000, 4, 8]);
    let out: Vec<_> = (0..second.end)
        .flat_map(|i| receiver.datagram(i).expect("one").segments())
        .map(|(offset, len)| Outgoing {
            to: sink.local_addr().expect("addr"),
            local: None,
            offset,
            len,
            head: Head::Empty,
        })
        .collect();
    let sent = sender.send(target.as_raw_fd(), &receiver, &out, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent::default());
    for len in sizes {
        assert_eq!(sink.recv(&mut [0; 2000]).expect("forwarded"), len);
    }
    receiver.clear();
    assert!(!receiver.is_full() && receiver.receive(server.as_raw_fd()).is_err(), "nothing is left");
}

#[test]
fn a_run_ends_at_another_destination_a_longer_packet_and_the_kernels_limits() {
    let a: SocketAddr = "10.0.0.1:1".parse().expect("addr");
    let b: SocketAddr = "10.0.0.1:2".parse().expect("addr");
    let run = |list: &[(SocketAddr, usize)]| grouped(list)[0].len();
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
    let queue = [Outgoing { to: datagram.from, local: datagram.local, offset, len, head: Head::Empty }];
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
    let queue = [(good, 5), (bad, 5), (good, 6)].map(|(to, len)| Outgoing {
        to,
        local: None,
        offset: 0,
        len,
        head: Head::Empty,
    });
    let sent = Sender::new().send(a.as_raw_fd(), &receiver, &queue, true);
    assert_eq!(Sent { messages: 0, ..sent }, Sent { refused: 1, ..Sent::default() });
    let mut buf = [0; 16];
    assert_eq!(b.recv(&mut buf).expect("first"), 5);
    assert_eq!(b.recv(&mut buf).expect("third"), 6);
}
