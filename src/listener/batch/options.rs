//! Socket options that the crates around do not know, and the core a thread runs on.

use std::io;
use std::os::fd::RawFd;

/// Sets an integer socket option.
pub(in crate::listener) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the size describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the calling thread on the `nth` of the cores that the process may use, counted round; which one that is.
pub(in crate::listener) fn pin_to(nth: usize) -> io::Result<usize> {
    // SAFETY: all-zero is the empty set, the kernel fills what it is given the size of, and the macros only test and set bits
    // of a set that they are given whole.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) != 0 {
            return Err(io::Error::last_os_error());
        }
        let count = libc::CPU_COUNT(&allowed) as usize;
        let core = (0..libc::CPU_SETSIZE as usize)
            .filter(|core| libc::CPU_ISSET(*core, &allowed))
            .nth(nth % count.max(1))
            .ok_or_else(|| io::Error::other("no core is allowed"))?;
        let mut only: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut only);
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) {
            0 => Ok(core),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
