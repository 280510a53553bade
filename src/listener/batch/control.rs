//! Control messages: our own address (PKTINFO) and the size of the datagrams in a run (GRO, GSO).

use std::net::IpAddr;

/// PKTINFO of either family and one segment size.
pub(super) const CONTROL: usize = 128;

/// A control buffer with the alignment that the kernel's headers want.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; CONTROL]);

impl Default for Control {
    fn default() -> Self {
        Control([0; CONTROL])
    }
}

/// Calls `each` with level, type and data of every control message that was received with a header.
pub(super) fn for_each_control(header: &libc::msghdr, mut each: impl FnMut(i32, i32, &[u8])) {
    // SAFETY: the kernel filled `msg_control` with `msg_controllen` bytes of well-formed control messages; the macros
    // walk exactly those, and each data slice ends where its header says.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            let len = ((*control).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            each((*control).cmsg_level, (*control).cmsg_type, std::slice::from_raw_parts(data, len));
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// Writes what a message to be sent needs of them into `control`, and tells its header.
pub(super) fn write_controls(
    header: &mut libc::msghdr,
    control: &mut Control,
    local: Option<IpAddr>,
    segment: Option<u16>,
) {
    let mut used = 0;
    match local {
        Some(IpAddr::V4(ip)) => {
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            used += write_control(&mut control.0[used..], libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            used += write_control(&mut control.0[used..], libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(size) = segment {
        used += write_control(&mut control.0[used..], libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }
    header.msg_control = if used == 0 { std::ptr::null_mut() } else { (&raw mut control.0).cast() };
    header.msg_controllen = used as _;
}

/// Writes one control message: header, data, padding. Returns its size.
fn write_control(buffer: &mut [u8], level: i32, kind: i32, data: &[u8]) -> usize {
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (len, space) =
        unsafe { (libc::CMSG_LEN(data.len() as u32) as usize, libc::CMSG_SPACE(data.len() as u32) as usize) };
    let header = len - data.len();
    buffer[..space].fill(0);
    buffer[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
    buffer[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
    buffer[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
    buffer[header..len].copy_from_slice(data);
    space
}
