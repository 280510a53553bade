//! \[pure\] Packets in the form that Wireshark and tcpdump read: pcap, microseconds, raw IP (LINKTYPE_RAW). The IP and UDP
//! headers are made here, from the addresses that the edge knows; frames of TCP connections look like UDP too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::session::observe::Captured;

/// LINKTYPE_RAW: the packet starts with its IPv4 or IPv6 header.
const LINKTYPE_RAW: u32 = 101;
const SNAP: u32 = 65_535;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// What the file starts with.
pub(super) fn file_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAP.to_le_bytes());
    header[20..].copy_from_slice(&LINKTYPE_RAW.to_le_bytes());
    header
}

/// One packet at this time since 1970, its payload cut to `snap` bytes.
pub(super) fn record(at: Duration, packet: &Captured<'_>, snap: usize) -> Vec<u8> {
    // A payload of more cannot have been in one datagram; what a TCP frame holds more is cut.
    let whole = packet.bytes.len().min(65_000);
    let kept = &packet.bytes[..whole.min(snap)];
    let headers = headers(packet.from, packet.to, whole);
    let (captured, original) = (headers.len() + kept.len(), headers.len() + whole);
    let mut record = Vec::with_capacity(16 + captured);
    for field in [at.as_secs() as u32, at.subsec_micros(), captured as u32, original as u32] {
        record.extend_from_slice(&field.to_le_bytes());
    }
    record.extend_from_slice(&headers);
    record.extend_from_slice(kept);
    record
}

fn headers(from: SocketAddr, to: SocketAddr, payload: usize) -> Vec<u8> {
    let length = (UDP_HEADER + payload) as u16;
    let mut headers = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = [0; 20];
            (ip[0], ip[8], ip[9]) = (0x45, 64, UDP);
            ip[2..4].copy_from_slice(&(20 + length).to_be_bytes());
            ip[12..16].copy_from_slice(&from.octets());
            ip[16..].copy_from_slice(&to.octets());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            ip.to_vec()
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let mut ip = [0; 40];
            (ip[0], ip[6], ip[7]) = (0x60, UDP, 64);
            ip[4..6].copy_from_slice(&length.to_be_bytes());
            ip[8..24].copy_from_slice(&octets(from));
            ip[24..].copy_from_slice(&octets(to));
            ip.to_vec()
        }
    };
    for field in [from.port(), to.port(), length, 0] {
        headers.extend_from_slice(&field.to_be_bytes());
    }
    headers
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::observe::Leg;

    fn packet<'b>(from: &str, to: &str, bytes: &'b [u8]) -> Captured<'b> {
        Captured { leg: Leg::Client, from: from.parse().unwrap(), to: to.parse().unwrap(), bytes }
    }

    #[test]
    fn a_record_holds_the_addresses_and_as_much_payload_as_asked_for() {
        let packet = packet("192.0.2.1:5000", "198.51.100.7:6001", &[7; 100]);
        let record = record(Duration::from_micros(3_000_004), &packet, 10);
        assert_eq!(record.len(), 16 + 20 + 8 + 10);
        assert_eq!(record[..8], [3, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(record[8..16], [38, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(record[16 + 12..16 + 20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(record[16 + 20..16 + 26], [0x13, 0x88, 0x17, 0x71, 0, 108]);
        assert_eq!(checksum(&record[16..36]), 0, "a right header sums up to nothing");
    }

    #[test]
    fn ipv6_and_mapped_addresses_have_their_own_headers() {
        let six = record(Duration::ZERO, &packet("[2001:db8::1]:1", "[2001:db8::2]:2", &[]), 9);
        assert_eq!((six[16], six.len()), (0x60, 16 + 48));
        let mapped = record(Duration::ZERO, &packet("[::ffff:192.0.2.1]:1", "192.0.2.2:2", &[]), 9);
        assert_eq!(mapped[16], 0x45);
    }
}
