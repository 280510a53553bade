//! Which peers a client may reach. Decides over an address alone, after looking for an IPv4 address inside of it; never over
//! who asks.
//!
//! A relay that carries anything anywhere is a tunnel into the network that it stands in. So everything that is not a public
//! unicast address is denied, unless the configuration names it. **The narrowest block that contains a peer decides**; where
//! an entry of `deny_peers` and one of `allow_peers` are equally narrow, the peer is denied, and either beats a built-in block
//! of the same size. `allow_peers: [0.0.0.0/0]` therefore opens nothing that is closed by default, `[10.1.0.0/16]` does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::IpNet;

macro_rules! denials {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// Why a peer is denied.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Denial { $($(#[doc = $doc])+ $variant,)+ }

        impl Denial {
            /// All of them, in the order of their index.
            pub const ALL: &'static [Denial] = &[$(Denial::$variant,)+];

            /// Stable snake-case name, for logs and metric labels.
            pub fn label(self) -> &'static str {
                match self { $(Denial::$variant => $label,)+ }
            }
        }
    };
}

denials! {
    /// 127.0.0.0/8, ::1.
    Loopback = "loopback",
    /// 10/8, 172.16/12, 192.168/16, fec0::/10.
    Private = "private",
    /// 169.254/16, fe80::/10.
    LinkLocal = "link_local",
    /// Where clouds keep their metadata and credentials.
    Metadata = "metadata",
    /// 100.64/10, behind a carrier's NAT.
    CarrierNat = "carrier_nat",
    /// fc00::/7.
    UniqueLocal = "unique_local",
    /// Multicast, whatever the configuration says.
    Multicast = "multicast",
    /// 255.255.255.255, whatever the configuration says.
    Broadcast = "broadcast",
    /// 0/8, ::, whatever the configuration says.
    Unspecified = "unspecified",
    /// Documentation and benchmarks: on a real network somebody's mistake.
    Documentation = "documentation",
    /// Reserved, discard-only, or otherwise nobody's.
    Reserved = "reserved",
    /// An IPv4 address in a form that says "this is IPv4" (mapped, compatible), or one for tunnels that nobody needs
    /// (Teredo, local-use NAT64).
    EmbeddedIpv4 = "embedded_ipv4",
    /// This host, and nothing of ours that a relay may reach.
    OwnAddress = "own_address",
    /// An entry of `deny_peers`.
    Listed = "listed",
    /// Port 0.
    Port = "port",
}

/// The configured part of the policy.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// `allow_peers`, and the addresses of configured backends.
    pub allow: Vec<IpNet>,
    /// `deny_peers`.
    pub deny: Vec<IpNet>,
    /// Addresses of this host, as itself and as others see it.
    pub own: Vec<IpAddr>,
}

/// What may be done with a peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// Packets may go there, to any port.
    Any,
    /// It is this host: only to what of it a relay may reach.
    Own {
        /// The configuration names it, so any port but the listeners' will do.
        listed: bool,
    },
}

impl Peers {
    /// Whether packets may go to `ip`.
    pub fn check(&self, ip: IpAddr) -> Result<Permitted, Denial> {
        let inside = embedded(ip);
        // Nothing opens these, in whatever form they come.
        for ip in [Some(ip), inside].into_iter().flatten() {
            never(ip)?;
        }
        let listed = self.listed(ip, inside);
        let is_own = self.own.iter().any(|own| own.to_canonical() == ip);
        match listed {
            Listed::Denied => Err(Denial::Listed),
            Listed::Allowed if is_own => Ok(Permitted::Own { listed: true }),
            Listed::Allowed => Ok(Permitted::Any),
            Listed::No(_) if is_own => Ok(Permitted::Own { listed: false }),
            Listed::No(Some(denial)) => Err(denial),
            Listed::No(None) => Ok(Permitted::Any),
        }
    }

    fn listed(&self, ip: IpAddr, inside: Option<IpAddr>) -> Listed {
        let narrowest = |nets: &[IpNet], ip: IpAddr| {
            nets.iter().filter(|net| same_family(net, ip) && net.contains(ip)).map(width).max()
        };
        let allow = narrowest(&self.allow, ip);
        // A denied IPv4 address stays denied in every disguise.
        let deny = [Some(ip), inside].into_iter().flatten().filter_map(|ip| narrowest(&self.deny, ip)).max();
        let built_in = built_in(ip).or_else(|| built_in(inside?).map(|(_, denial)| (128, denial)));
        let usual = built_in.map_or(-1, |(prefix, _)| i16::from(prefix));
        match (deny.unwrap_or(-1), allow.unwrap_or(-1)) {
            (deny, allow) if deny >= 0 && deny >= allow => Listed::Denied,
            (_, allow) if allow >= 0 && allow >= usual => Listed::Allowed,
            _ => Listed::No(built_in.map(|(_, denial)| denial)),
        }
    }
}

enum Listed {
    Denied,
    Allowed,
    /// By no entry; what is built in says this.
    No(Option<Denial>),
}

fn width(net: &IpNet) -> i16 {
    i16::from(net.prefix)
}

/// An IPv4 block is never asked about an IPv6 address, mapped or not.
fn same_family(net: &IpNet, ip: IpAddr) -> bool {
    net.addr.is_ipv4() == ip.is_ipv4()
}

/// What no entry of a list opens: it is no one peer.
fn never(ip: IpAddr) -> Result<(), Denial> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Err(Denial::Unspecified),
        IpAddr::V4(ip) if ip.is_broadcast() => Err(Denial::Broadcast),
        IpAddr::V6(ip) if ip.is_unspecified() => Err(Denial::Unspecified),
        ip if ip.is_multicast() => Err(Denial::Multicast),
        _ => Ok(()),
    }
}

type Block<A> = (A, u8, Denial);

const V4: &[Block<Ipv4Addr>] = &[
    (Ipv4Addr::new(127, 0, 0, 0), 8, Denial::Loopback),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Denial::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Denial::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Denial::Private),
    // AWS, Azure, Google, DigitalOcean, Oracle; AWS' containers; Alibaba; Azure's host agent.
    (Ipv4Addr::new(169, 254, 169, 254), 32, Denial::Metadata),
    (Ipv4Addr::new(169, 254, 170, 2), 32, Denial::Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Denial::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Denial::Metadata),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Denial::LinkLocal),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Denial::CarrierNat),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Denial::Documentation),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Denial::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Denial::Documentation),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Denial::Documentation),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Denial::Reserved),
    // The former anycast address of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24, Denial::Reserved),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Denial::Reserved),
];

const V6: &[Block<Ipv6Addr>] = &[
    (Ipv6Addr::LOCALHOST, 128, Denial::Loopback),
    // Mapped, and compatible (which holds ::1 and :: too).
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Denial::EmbeddedIpv4),
    (Ipv6Addr::UNSPECIFIED, 96, Denial::EmbeddedIpv4),
    // Translated (RFC 2765).
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, Denial::EmbeddedIpv4),
    // Local-use NAT64: leads to addresses that only its network knows (RFC 8215).
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Denial::EmbeddedIpv4),
    // Teredo.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Denial::EmbeddedIpv4),
    // AWS' metadata, over IPv6.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Denial::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Denial::Metadata),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Denial::UniqueLocal),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Denial::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Denial::Private),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Denial::Documentation),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Denial::Documentation),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Denial::Documentation),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Denial::Reserved),
    // ORCHID: names, no addresses.
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, Denial::Reserved),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, Denial::Reserved),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, Denial::Reserved),
];

/// The narrowest built-in block that contains `ip`.
fn built_in(ip: IpAddr) -> Option<(u8, Denial)> {
    let v4 = V4.iter().map(|(net, prefix, denial)| (IpAddr::V4(*net), *prefix, *denial));
    let v6 = V6.iter().map(|(net, prefix, denial)| (IpAddr::V6(*net), *prefix, *denial));
    let containing = v4.chain(v6).filter(|(net, prefix, _)| contains(*net, *prefix, ip));
    let narrowest = containing.map(|(_, prefix, denial)| (prefix, denial)).max_by_key(|(prefix, _)| *prefix);
    // What is no global unicast at all (RFC 4291 §2.4: that is 2000::/3), but for NAT64 and its like above.
    narrowest.or_else(|| match ip {
        IpAddr::V6(v6) if v6.segments()[0] >> 13 != 1 && !is_nat64(v6) => Some((3, Denial::Reserved)),
        _ => None,
    })
}

/// Unlike [`IpNet::contains`], never takes an IPv6 address for an IPv4 one.
fn contains(net: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (net, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            (u32::from(net) ^ u32::from(ip)).checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            (u128::from(net) ^ u128::from(ip)).checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn is_nat64(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
}

/// The IPv4 address that packets to this IPv6 address may end at: mapped and compatible forms, NAT64 (RFC 6052), 6to4
/// (RFC 3056), Teredo's client (RFC 4380 §4), ISATAP (RFC 5214 §6.1).
pub fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Some(IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // The global and the local form, with and without the bit that says which.
        [_, _, _, _, 0 | 0x200 | 0x100 | 0x300, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
