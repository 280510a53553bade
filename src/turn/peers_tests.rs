//! Every form of every address that must not be reached, and some that must.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn net(text: &str) -> IpNet {
    let (addr, prefix) =
        text.split_once('/').unwrap_or((text, if text.contains(':') { "128" } else { "32" }));
    IpNet { addr: ip(addr), prefix: prefix.parse().unwrap() }
}

/// Denied by default: one address of each block, its first and last where that is a boundary.
const DENIED: &[(&str, Denial)] = &[
    ("127.0.0.1", Denial::Loopback),
    ("127.255.255.255", Denial::Loopback),
    ("10.0.0.1", Denial::Private),
    ("10.255.255.255", Denial::Private),
    ("172.16.0.1", Denial::Private),
    ("172.31.255.255", Denial::Private),
    ("192.168.1.1", Denial::Private),
    ("169.254.1.1", Denial::LinkLocal),
    ("169.254.169.254", Denial::Metadata),
    ("169.254.170.2", Denial::Metadata),
    ("100.100.100.200", Denial::Metadata),
    ("168.63.129.16", Denial::Metadata),
    ("100.64.0.1", Denial::CarrierNat),
    ("100.127.255.255", Denial::CarrierNat),
    ("224.0.0.1", Denial::Multicast),
    ("239.255.255.255", Denial::Multicast),
    ("255.255.255.255", Denial::Broadcast),
    ("0.0.0.0", Denial::Unspecified),
    ("0.1.2.3", Denial::Unspecified),
    ("192.0.2.1", Denial::Documentation),
    ("198.51.100.1", Denial::Documentation),
    ("203.0.113.1", Denial::Documentation),
    ("198.18.0.1", Denial::Documentation),
    ("198.19.255.255", Denial::Documentation),
    ("192.0.0.1", Denial::Reserved),
    ("192.88.99.1", Denial::Reserved),
    ("240.0.0.1", Denial::Reserved),
    ("255.255.255.254", Denial::Reserved),
    ("::", Denial::Unspecified),
    ("::1", Denial::Loopback),
    ("fe80::1", Denial::LinkLocal),
    ("febf::1", Denial::LinkLocal),
    ("fec0::1", Denial::Private),
    ("fc00::1", Denial::UniqueLocal),
    ("fdff::1", Denial::UniqueLocal),
    ("fd00:ec2::254", Denial::Metadata),
    ("fd20:ce::254", Denial::Metadata),
    ("ff02::1", Denial::Multicast),
    ("2001:db8::1", Denial::Documentation),
    ("3fff::1", Denial::Documentation),
    ("2001:2::1", Denial::Documentation),
    ("100::1", Denial::Reserved),
    ("2001:10::1", Denial::Reserved),
    ("2001:20::1", Denial::Reserved),
    ("5f00::1", Denial::Reserved),
    ("4000::1", Denial::Reserved),
    ("64:ff9b:2::1", Denial::Reserved),
    // Public IPv4, in forms that no peer has.
    ("::ffff:8.8.8.8", Denial::EmbeddedIpv4),
    ("::8.8.8.8", Denial::EmbeddedIpv4),
    ("::ffff:0:8.8.8.8", Denial::EmbeddedIpv4),
    ("64:ff9b:1::8.8.8.8", Denial::EmbeddedIpv4),
    ("2001::1", Denial::EmbeddedIpv4),
];

const ALLOWED: &[&str] = &[
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2600::1",
    "2a00:1450:4001:80e::200e",
    // A public IPv4 address through the public NAT64 prefix, and by 6to4.
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
];

/// How an IPv4 address can stand inside an IPv6 one.
fn disguises(v4: Ipv4Addr) -> Vec<IpAddr> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 7, 7, 7, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2002, high, low, 9, 9, 9, 9, 9),
        Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low),
        Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2600, 0, 0, 0, 0x200, 0x5efe, high, low),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5efe, high, low),
    ]
    .map(IpAddr::V6)
    .to_vec()
}

#[test]
fn what_is_not_public_is_denied_and_says_why() {
    let peers = Peers::default();
    for (text, denial) in DENIED {
        assert_eq!(peers.check(ip(text)), Err(*denial), "{text}");
    }
}

#[test]
fn what_is_public_is_allowed() {
    for text in ALLOWED {
        assert_eq!(Peers::default().check(ip(text)), Ok(Permitted::Any), "{text}");
    }
}

#[test]
fn a_denied_ipv4_address_is_denied_in_every_disguise() {
    for (text, _) in DENIED {
        let IpAddr::V4(v4) = ip(text) else { continue };
        for disguise in disguises(v4) {
            assert!(Peers::default().check(disguise).is_err(), "{text} as {disguise}");
        }
    }
}

#[test]
fn a_listed_denial_reaches_into_every_disguise_too() {
    let peers = Peers { deny: vec![net("8.8.8.0/24")], ..Peers::default() };
    assert_eq!(peers.check(ip("8.8.8.8")), Err(Denial::Listed));
    for disguise in disguises(Ipv4Addr::new(8, 8, 8, 8)) {
        assert!(peers.check(disguise).is_err(), "{disguise}");
    }
    assert_eq!(peers.check(ip("64:ff9b::8.8.8.8")), Err(Denial::Listed));
    assert_eq!(peers.check(ip("8.8.9.8")), Ok(Permitted::Any));
}

#[test]
fn the_narrowest_block_decides_and_deny_wins_a_tie() {
    let peers = Peers {
        allow: ["0.0.0.0/0", "10.1.0.0/16", "127.0.0.1", "203.0.113.0/24", "fd00::/8"].map(net).to_vec(),
        deny: ["10.1.2.0/24", "203.0.113.0/24", "8.0.0.0/8"].map(net).to_vec(),
        own: vec![],
    };
    for (text, expected) in [
        ("10.1.1.1", Ok(Permitted::Any)),
        ("10.1.2.1", Err(Denial::Listed)),
        ("10.2.0.1", Err(Denial::Private)),
        ("127.0.0.1", Ok(Permitted::Any)),
        ("127.0.0.2", Err(Denial::Loopback)),
        ("203.0.113.1", Err(Denial::Listed)),
        ("8.8.8.8", Err(Denial::Listed)),
        ("9.9.9.9", Ok(Permitted::Any)),
        ("169.254.169.254", Err(Denial::Metadata)),
        ("fd12::1", Ok(Permitted::Any)),
        ("fd00:ec2::254", Err(Denial::Metadata)),
        // An allowed IPv4 address is not allowed as something else.
        ("::ffff:127.0.0.1", Err(Denial::EmbeddedIpv4)),
        ("2002:7f00:1::1", Err(Denial::Loopback)),
    ] {
        assert_eq!(peers.check(ip(text)), expected, "{text}");
    }
}

#[test]
fn deny_everything_but_one_network_can_be_said() {
    let peers =
        Peers { allow: vec![net("198.51.100.0/24")], deny: vec![net("0.0.0.0/0"), net("::/0")], own: vec![] };
    assert_eq!(peers.check(ip("198.51.100.7")), Ok(Permitted::Any));
    for text in ALLOWED {
        assert!(peers.check(ip(text)).is_err(), "{text}");
    }
}

#[test]
fn nothing_opens_multicast_broadcast_and_the_unspecified_address() {
    let peers = Peers {
        allow: ["224.0.0.0/4", "255.255.255.255", "0.0.0.0", "::", "ff00::/8", "2002:e000:1::/48"]
            .map(net)
            .to_vec(),
        ..Peers::default()
    };
    for (text, denial) in [
        ("224.0.0.1", Denial::Multicast),
        ("255.255.255.255", Denial::Broadcast),
        ("0.0.0.0", Denial::Unspecified),
        ("::", Denial::Unspecified),
        ("ff02::1", Denial::Multicast),
        ("2002:e000:1::", Denial::Multicast),
    ] {
        assert_eq!(peers.check(ip(text)), Err(denial), "{text}");
    }
}

#[test]
fn this_host_is_told_apart() {
    let mut peers = Peers { own: vec![ip("10.0.0.5"), ip("198.51.100.5")], ..Peers::default() };
    assert_eq!(peers.check(ip("10.0.0.5")), Ok(Permitted::Own { listed: false }));
    peers.allow = vec![net("10.0.0.5")];
    assert_eq!(peers.check(ip("10.0.0.5")), Ok(Permitted::Own { listed: true }));
    peers.deny = vec![net("10.0.0.5")];
    assert_eq!(peers.check(ip("10.0.0.5")), Err(Denial::Listed));
}
