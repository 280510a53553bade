//! \[pure, but for asking\] At which addresses browsers are told to find the demo.

use std::net::{IpAddr, Ipv4Addr};

/// A browser checks each of them; a machine with containers has dozens, and most are nobody's way here.
const MOST: usize = 6;

/// The addresses of this machine's interfaces, in the order of their usefulness.
pub(super) fn of_this_machine() -> Vec<IpAddr> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    choose(found.into_iter().map(|interface| (interface.name.clone(), interface.ip())))
}

/// Real interfaces before bridges of containers, IPv4 before IPv6, loopback last: Chromium takes it where there is no network at
/// all, Firefox never.
fn choose(interfaces: impl Iterator<Item = (String, IpAddr)>) -> Vec<IpAddr> {
    let mut usable: Vec<_> = interfaces.filter(|(_, ip)| is_usable(ip)).collect();
    usable.sort_by_key(|(name, ip)| (is_bridge(name), ip.is_ipv6()));
    let mut chosen: Vec<IpAddr> = Vec::new();
    for (_, ip) in usable {
        if chosen.len() < MOST - 1 && !chosen.contains(&ip) {
            chosen.push(ip);
        }
    }
    chosen.push(Ipv4Addr::LOCALHOST.into());
    chosen
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local()),
    }
}

fn is_bridge(name: &str) -> bool {
    ["docker", "br-", "veth", "virbr", "cni", "flannel", "lxc"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(interfaces: &[(&str, &str)]) -> Vec<String> {
        let parsed =
            interfaces.iter().map(|(name, ip)| ((*name).to_owned(), ip.parse().expect("an address")));
        choose(parsed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_network_comes_before_containers_and_loopback() {
        let interfaces = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("docker0", "172.17.0.1"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::7"),
            ("eth0", "192.168.1.7"),
            ("wlan0", "169.254.3.4"),
        ];
        assert_eq!(chosen(&interfaces), ["192.168.1.7", "2001:db8::7", "172.17.0.1", "127.0.0.1"]);
    }

    #[test]
    fn there_are_never_many_and_never_none() {
        let many: Vec<_> = (0..50).map(|n| ("br-x".to_owned(), IpAddr::from([10, 0, 0, n]))).collect();
        assert_eq!(choose(many.into_iter()).len(), MOST);
        assert_eq!(chosen(&[]), ["127.0.0.1"]);
    }
}
