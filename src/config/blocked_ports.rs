//! \[pure\] Ports that no browser sends ICE to: it takes the candidate, and then silently never checks it.

/// The "bad ports" of the WHATWG Fetch standard, which Chromium and Firefox apply to ICE candidates as well.
const BLOCKED: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// What browsers do with a candidate on this port, where that is nothing. `private`: some published address is private.
pub(crate) fn objection(port: u16, private: bool) -> Option<&'static str> {
    match port {
        80 | 443 if private => Some("Chromium refuses candidates with port 80 or 443 at private addresses"),
        80 | 443 => None,
        ..1024 => Some("Chromium refuses candidates with ports below 1024, but for 80 and 443"),
        _ if BLOCKED.binary_search(&port).is_ok() => Some(
            "browsers send no ICE there: the port is on their list of blocked ports (\"bad ports\" of the Fetch standard)",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_x_window_system_is_blocked_and_its_neighbour_is_not() {
        assert!(BLOCKED.is_sorted());
        assert!([6000, 5060, 10080, 22, 1023].iter().all(|port| objection(*port, false).is_some()));
        assert!([80, 443, 3478, 5000, 6001, 6443, 8443].iter().all(|port| objection(*port, false).is_none()));
        assert!(objection(443, true).is_some() && objection(6001, true).is_none());
    }
}
