//! \[pure\] `media:`, how packets are carried. Decides what is usual, what may be written, and what of it a running process takes
//! over; never what one stranger may cost, which is for `limits`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::addr::{self, A_PORT_RANGE};
use super::durations::{A_SIZE, duration, size};
use super::section::{Findings, Section};

/// More packet threads than any machine has cores for would only be a slip of the pen.
const MAX_WORKERS: usize = 1024;
/// More than any socket buffer holds packets for at a gigabit per second would only lose some.
const LONGEST_COALESCE: Duration = Duration::from_millis(1);

/// `media:`, the packet side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `workers`: packet threads; default one per core.
    pub workers: usize,
    /// `backend_ports`: local ports towards backends, default 40000–50000.
    pub backend_ports: RangeInclusive<u16>,
    /// `socket_buffer`: receive and send buffer asked for per socket, bytes, default 4 MiB.
    pub socket_buffer: usize,
    /// `offload`: UDP GRO and GSO where the kernel has them, default true.
    pub offload: bool,
    /// `pin_workers`: each packet thread keeps to one core, default false.
    pub pin_workers: bool,
    /// `observe_rtp`: statistics of RTP streams per session, default true.
    pub observe_rtp: bool,
    /// `coalesce`: how long a packet thread under load sleeps before it looks for packets again, default 200 µs; zero: it is
    /// woken by each.
    pub coalesce: Duration,
}

impl Media {
    /// The defaults, with so many packet threads.
    pub fn new(workers: usize) -> Media {
        Media {
            workers,
            backend_ports: 40_000..=50_000,
            socket_buffer: 4 << 20,
            offload: true,
            pin_workers: false,
            observe_rtp: true,
            coalesce: Duration::from_micros(200),
        }
    }

    /// What holds in a running process once the file asks for `wanted`: some of it stays as it was at the start.
    pub fn followed_by(&self, wanted: &Media) -> Media {
        let Media { workers, socket_buffer, offload, pin_workers, .. } = *self;
        Media { workers, socket_buffer, offload, pin_workers, ..wanted.clone() }
    }

    /// Keys that differ between the running process and the file.
    pub fn needs_restart(&self, wanted: &Media) -> Vec<&'static str> {
        let keys = [
            ("media.workers", self.workers != wanted.workers),
            ("media.socket_buffer", self.socket_buffer != wanted.socket_buffer),
            ("media.offload", self.offload != wanted.offload),
            ("media.pin_workers", self.pin_workers != wanted.pin_workers),
        ];
        keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
    }
}

/// Reads `media:`.
pub(super) fn media(root: &Section<'_>, cores: usize, findings: &mut Findings) -> Media {
    let mut media = Media::new(cores.max(1));
    if let Some(section) = root.section(findings, "media") {
        let workers = |text: &str| addr::number(text).filter(|count| (1..=MAX_WORKERS).contains(count));
        let expected = "a whole number from 1 to 1024";
        media.workers = section.read(findings, "workers", expected, workers).unwrap_or(media.workers);
        if let Some(ports) = section.read(findings, "backend_ports", A_PORT_RANGE, addr::ports) {
            media.backend_ports = ports;
        }
        media.socket_buffer =
            section.read(findings, "socket_buffer", A_SIZE, size).unwrap_or(media.socket_buffer);
        media.offload = section.flag(findings, "offload", media.offload);
        media.pin_workers = section.flag(findings, "pin_workers", media.pin_workers);
        media.observe_rtp = section.flag(findings, "observe_rtp", media.observe_rtp);
        let coalesce = |text: &str| duration(text).filter(|nap| *nap <= LONGEST_COALESCE);
        let expected = "0, or a duration up to 1ms such as 200us";
        media.coalesce = section.read(findings, "coalesce", expected, coalesce).unwrap_or(media.coalesce);
    }
    media
}
