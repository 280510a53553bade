//! Turns with other generators: each is asked for by a line on standard input.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use mio::{Registry, Token, Waker};

/// Wakes whoever waits for packets: there is another turn, or the last one was.
pub(super) const NEXT_TURN: Token = Token(usize::MAX);

/// Traffic, some of which counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    /// Before the measured time: caches and congestion settle.
    pub(super) warm: Duration,
    pub(super) measured: Duration,
}

/// What standard input asks for, until it ends.
pub(super) type Turns = Receiver<io::Result<Turn>>;

/// Reads from now on, in a thread of its own: whoever waits goes on answering checks.
pub(super) fn read(registry: &Registry) -> io::Result<Turns> {
    let waker = Waker::new(registry, NEXT_TURN)?;
    let (tell, turns) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let turn = line.and_then(|line| parse(&line));
            // Who measured may have ended.
            let _ = tell.send(turn);
            let _ = waker.wake();
        }
        drop(tell);
        let _ = waker.wake();
    });
    Ok(turns)
}

/// Two numbers of seconds.
fn parse(line: &str) -> io::Result<Turn> {
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let turn = line
        .trim()
        .split_once(' ')
        .and_then(|(warm, measured)| Some(Turn { warm: seconds(warm)?, measured: seconds(measured)? }));
    turn.ok_or_else(|| io::Error::other(format!("{line:?}: expected two numbers of seconds, as in 0.5 2")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_two_numbers_of_seconds() {
        let turn = Turn { warm: Duration::from_millis(500), measured: Duration::from_secs(2) };
        assert_eq!(parse("0.5 2\n").unwrap(), turn);
        for line in ["", "1", "1 x", "-1 2", "1 NaN", "1 2 3"] {
            assert!(parse(line).unwrap_err().to_string().contains("expected two numbers"), "{line}");
        }
    }
}
