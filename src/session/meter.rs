//! \[pure\] What one client may send: a rate that no honest client reaches, and while its worker is behind, a share of each
//! turn. One client that floods its own session cannot take the others' time or their place in the socket's buffer.

use std::time::{Duration, Instant};

/// What a rate may be exceeded by at once, as time: a video's key frame arrives in one piece.
const BURST: Duration = Duration::from_millis(250);
/// Packets that one session may have forwarded in a turn while its worker is behind. A turn takes up to 256 datagrams of one
/// socket: eight such floods together leave no packet of the ninth client waiting.
const SHARE: u16 = 32;

/// What each client may send. Zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Packets per second.
    pub packets: u32,
    /// Bytes of payload per second.
    pub bytes: u64,
}

/// The turn of the worker that a packet is seen in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Counts up, and starts again after the largest number.
    pub number: u16,
    /// The worker has been behind for a while.
    pub crowded: bool,
}

/// Why a packet is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// More per second than allowed.
    Rate,
    /// More than a share of this turn.
    Share,
}

/// What one client sent lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// When the packets sent so far are paid for at the allowed rate (GCRA); `None`: nothing was sent.
    packets_paid: Option<Instant>,
    bytes_paid: Option<Instant>,
    turn: u16,
    in_turn: u16,
}

impl Meter {
    /// Counts a packet of `len` bytes, if there is room for it.
    #[inline]
    pub fn take(&mut self, now: Instant, len: usize, may: &Allowance, turn: Turn) -> Result<(), Exceeded> {
        if turn.crowded {
            self.take_share(turn)?;
        }
        if let Some(price) = 1_000_000_000_u64.checked_div(may.packets.into()) {
            take_rate(&mut self.packets_paid, now, price)?;
        }
        if let Some(price) = (len as u64 * 1_000_000_000).checked_div(may.bytes) {
            take_rate(&mut self.bytes_paid, now, price)?;
        }
        Ok(())
    }

    fn take_share(&mut self, turn: Turn) -> Result<(), Exceeded> {
        if self.turn != turn.number {
            (self.turn, self.in_turn) = (turn.number, 0);
        }
        if self.in_turn >= SHARE {
            return Err(Exceeded::Share);
        }
        self.in_turn += 1;
        Ok(())
    }
}

fn take_rate(paid: &mut Option<Instant>, now: Instant, nanoseconds: u64) -> Result<(), Exceeded> {
    let due = paid.map_or(now, |paid| paid.max(now));
    if due > now + BURST {
        return Err(Exceeded::Rate);
    }
    *paid = Some(due + Duration::from_nanos(nanoseconds));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Turn = Turn { number: 1, crowded: false };

    fn passed(meter: &mut Meter, now: Instant, may: Allowance, turn: Turn, packets: usize) -> usize {
        (0..packets).filter(|_| meter.take(now, 1_000, &may, turn).is_ok()).count()
    }

    #[test]
    fn a_rate_lets_a_quarter_of_a_second_through_at_once_and_then_its_number_per_second() {
        let may = Allowance { packets: 1_000, bytes: 0 };
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(passed(&mut meter, start, may, CALM, 5_000), 251);
        let sum: usize =
            (1..=1_000).map(|ms| passed(&mut meter, start + Duration::from_millis(ms), may, CALM, 50)).sum();
        assert_eq!(sum, 1_000);
        assert_eq!(meter.take(start + Duration::from_secs(1), 1, &may, CALM), Err(Exceeded::Rate));
        assert_eq!(
            passed(&mut meter, start + Duration::from_secs(9), may, CALM, 5_000),
            251,
            "no more is saved up"
        );
    }

    #[test]
    fn bytes_are_counted_as_well_and_without_limits_everything_passes() {
        let may = Allowance { packets: 0, bytes: 100_000 };
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(passed(&mut meter, start, may, CALM, 5_000), 26);
        assert_eq!(passed(&mut Meter::default(), start, Allowance::default(), CALM, 5_000), 5_000);
    }

    #[test]
    fn while_the_worker_is_behind_a_client_has_its_share_of_each_turn() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        for number in [7, 8, 9] {
            let turn = Turn { number, crowded: true };
            assert_eq!(passed(&mut meter, now, Allowance::default(), turn, 200), usize::from(SHARE));
            assert_eq!(meter.take(now, 1, &Allowance::default(), turn), Err(Exceeded::Share));
        }
    }
}
