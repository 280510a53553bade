//! Notes each step with its time, and shows it as it happens.
//!
//! It decides what a server's words may look like on a terminal: no control characters, no more than a line.

use std::time::{Duration, Instant};

use super::facts::{Outcome, Step};

/// Longest text of a server that is shown, in characters: one reason, not a page.
const LONGEST: usize = 200;
/// Most steps that are kept. A run over three transports with 16 candidates each stays below 100.
const MOST_STEPS: usize = 400;

/// Shows a step.
pub(super) type Show = Box<dyn FnMut(&Step) + Send>;

/// The steps of a run.
pub(super) struct Journal {
    start: Instant,
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
    /// What the run waits for, to be named when the time is over.
    pub(super) waiting: String,
    show: Show,
}

impl Journal {
    pub(super) fn new(start: Instant, show: Show) -> Journal {
        Journal { start, steps: Vec::new(), warnings: Vec::new(), waiting: String::new(), show }
    }

    pub(super) fn note(&mut self, step: &'static str, outcome: Outcome, text: impl Into<String>) {
        let step = Step { at_ms: millis(self.start.elapsed()), step, outcome, text: text.into() };
        (self.show)(&step);
        if self.steps.len() < MOST_STEPS {
            self.steps.push(step);
        }
    }

    /// Says it once.
    pub(super) fn warn(&mut self, step: &'static str, text: String) {
        if !self.warnings.contains(&text) {
            self.note(step, Outcome::Warn, text.clone());
            self.warnings.push(text);
        }
    }

    pub(super) fn waits_for(&mut self, what: impl Into<String>) {
        self.waiting = what.into();
    }
}

/// With three decimals, so that a reader sees no more than was measured.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// As people read it.
pub(super) fn shown(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// A text of somebody else as it may be shown: one line, no control characters (which could rule a terminal), not long.
pub(super) fn clean(text: &str) -> String {
    let mut out: String = text
        .trim()
        .chars()
        .map(|sign| if sign.is_control() || is_formatting(sign) { ' ' } else { sign })
        .take(LONGEST)
        .collect();
    if text.trim().chars().count() > LONGEST {
        out.push('…');
    }
    out
}

/// Signs that turn the direction of writing or hide.
fn is_formatting(sign: char) -> bool {
    matches!(sign, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_rule_no_terminal_and_fill_no_screen() {
        assert_eq!(clean("\x1b[31mred\r\nnext\u{202e}"), " [31mred  next ");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_warning_is_said_once() {
        let mut journal = Journal::new(Instant::now(), Box::new(|_| ()));
        journal.warn("tls", "old".to_owned());
        journal.warn("tls", "old".to_owned());
        assert_eq!((journal.warnings.len(), journal.steps.len()), (1, 1));
    }
}
