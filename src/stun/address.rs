//! XOR-MAPPED-ADDRESS and its relatives (RFC 8489 §14.2): one address, XORed with cookie and transaction id so that
//! no middlebox edits it. Decides the bytes; never which address to tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// Length of the longest value.
pub(super) const MAX_LEN: usize = 20;

/// Writes the value for `addr`; returns its length. A mapped address of a dual-stack socket is told as the IPv4
/// address that the peer knows.
pub(super) fn encode(addr: SocketAddr, id: &TransactionId, out: &mut [u8; MAX_LEN]) -> usize {
    let mask = mask(id);
    let port = addr.port().to_be_bytes();
    out[0] = 0;
    out[2] = port[0] ^ mask[0];
    out[3] = port[1] ^ mask[1];
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out[1] = FAMILY_V4;
            xor_into(&mut out[4..8], &ip.octets(), &mask);
            8
        }
        IpAddr::V6(ip) => {
            out[1] = FAMILY_V6;
            xor_into(&mut out[4..20], &ip.octets(), &mask);
            20
        }
    }
}

/// Reads a value; `None` when family and length do not fit each other.
pub(super) fn decode(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], host) = value.split_first_chunk::<4>()?;
    let mask = mask(id);
    let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
    let ip = match *family {
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(unmask::<4>(host, &mask)?)),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(unmask::<16>(host, &mask)?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn unmask<const N: usize>(host: &[u8], mask: &[u8; 16]) -> Option<[u8; N]> {
    let host: &[u8; N] = host.try_into().ok()?;
    let mut plain = [0; N];
    xor_into(&mut plain, host, mask);
    Some(plain)
}

fn xor_into(out: &mut [u8], bytes: &[u8], mask: &[u8; 16]) {
    for ((out, byte), mask) in out.iter_mut().zip(bytes).zip(mask) {
        *out = byte ^ mask;
    }
}

fn mask(id: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(id);
    mask
}
