//! Who shares a budget: what one customer of an access network is given.

use std::net::{IpAddr, Ipv4Addr};

/// One IPv4 address, or one IPv6 /64: the smallest block that a network gives to a customer (RFC 6177), within which a
/// host chooses its address as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// The source of an address. An IPv4 address inside IPv6 is that IPv4 address, be it mapped (`::ffff:0:0/96`) or
    /// translated (`64:ff9b::/96`, RFC 6052): behind a NAT64 all of IPv4 would be one source otherwise.
    pub fn of(ip: IpAddr) -> Source {
        let ip = match ip.to_canonical() {
            IpAddr::V4(ip) => return Source::v4(ip),
            IpAddr::V6(ip) => u128::from(ip),
        };
        if ip >> 32 == TRANSLATED {
            return Source::v4(Ipv4Addr::from(ip as u32));
        }
        Source((ip >> 64) as u64)
    }

    /// As a number of its own for each source; never [`u64::MAX`], which would be a multicast prefix.
    pub(super) fn key(self) -> u64 {
        self.0.min(u64::MAX - 1)
    }

    /// IPv4 stands where IPv6 has `::/8`, which no network is given (RFC 4291 §2.4).
    fn v4(ip: Ipv4Addr) -> Source {
        Source(V4 | u64::from(u32::from(ip)))
    }
}

const V4: u64 = 4 << 32;
/// `64:ff9b::/96` without its last 32 bits.
const TRANSLATED: u128 = 0x0064_ff9b_0000_0000_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Source::of(a.parse().unwrap()) == Source::of(b.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_a_source_however_it_is_written() {
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(same("192.0.2.1", "64:ff9b::192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2"));
    }

    #[test]
    fn an_ipv6_site_is_one_source_and_the_next_one_another() {
        assert!(same("2001:db8::1", "2001:db8::ffff:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("fe80::1", "fe80::2"));
    }

    #[test]
    fn no_ipv4_address_meets_loopback_or_an_empty_place() {
        assert!(!same("0.0.0.0", "::1"));
        assert!(!same("0.0.0.1", "::"));
        let highest = Source::of("ffff:ffff:ffff:ffff::".parse().unwrap());
        assert_ne!(highest.key(), u64::MAX);
    }
}
