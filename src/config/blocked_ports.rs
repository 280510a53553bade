//! \[pure\] Ports that no browser sends ICE to: it takes the candidate, and then silently never checks it.

/// The "bad ports" of the WHATWG Fetch standard, which Chromium and Firefox apply to ICE candidates as well.
const BLOCKED: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Whether browsers refuse to send to this port.
pub(super) fn is_blocked(port: u16) -> bool {
    BLOCKED.binary_search(&port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_x_window_system_is_blocked_and_its_neighbour_is_not() {
        assert!(BLOCKED.is_sorted());
        assert!(is_blocked(6000) && is_blocked(5060) && is_blocked(10080));
        assert!([443, 3478, 5000, 6001, 6443, 8443].iter().all(|port| !is_blocked(*port)));
    }
}
