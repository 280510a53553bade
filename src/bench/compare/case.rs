//! One kind of traffic, as typed and as told: `1200x10,n=5000` is 5000 sessions of 1200 bytes in bursts of 10.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is sent in one measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Case {
    pub(super) size: usize,
    pub(super) burst: usize,
    /// With traffic.
    pub(super) sessions: usize,
    /// Registered besides.
    pub(super) idle: usize,
    /// `both`, `up` or `down`.
    pub(super) direction: String,
    /// Packets per second.
    pub(super) rate: u32,
}

const SESSIONS: usize = 100;
const RATE: u32 = 40_000;

/// The cases of a comparison that names none: video and voice, alone and in bursts, with each direction alone and with many sessions.
pub(super) const USUAL: [&str; 14] = [
    "1200x1",
    "1200x10",
    "172x1",
    "172x10",
    "1200x1,dir=up",
    "1200x1,dir=down",
    "1200x10,dir=up",
    "1200x10,dir=down",
    "1200x1,n=5000",
    "1200x10,n=5000",
    "172x1,n=5000",
    "1200x1,idle=50000",
    "1200x1,n=5000,idle=45000",
    "1200x1,rate=20000",
];

/// Those of `--quick`.
pub(super) const QUICK: [&str; 2] = ["1200x1", "1200x10"];

impl Case {
    /// Whether it is about what packets cost, at the whole rate; about how long they take else.
    pub(super) fn is_full(&self) -> bool {
        self.rate == RATE
    }

    /// How a column is headed.
    pub(super) fn title(&self) -> String {
        let mut title = match self.burst {
            1 => format!("{} B, single", self.size),
            burst => format!("{} B, bursts of {burst}", self.size),
        };
        if self.direction != "both" {
            title += &format!(", {} only", self.direction);
        }
        if self.sessions != SESSIONS {
            title += &format!(", {} sessions", thousands(self.sessions));
        }
        if self.idle > 0 {
            title += &format!(", {} more registered", thousands(self.idle));
        }
        if !self.is_full() {
            title += &format!(", {} packets/s", thousands(self.rate as usize));
        }
        title
    }
}

fn thousands(number: usize) -> String {
    if number < 10_000 { number.to_string() } else { format!("{} {:03}", number / 1000, number % 1000) }
}

/// A case cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: expected SIZExBURST, then any of ,n=SESSIONS ,idle=SESSIONS ,dir=up|down|both ,rate=PACKETS")]
pub(super) struct BadCase(String);

impl FromStr for Case {
    type Err = BadCase;

    fn from_str(text: &str) -> Result<Case, BadCase> {
        read(text).ok_or_else(|| BadCase(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Case> {
    let mut parts = text.split(',');
    let (size, burst) = parts.next()?.split_once('x')?;
    let mut case = Case {
        size: size.parse().ok()?,
        burst: burst.parse().ok()?,
        sessions: SESSIONS,
        idle: 0,
        direction: "both".to_owned(),
        rate: RATE,
    };
    for part in parts {
        match part.split_once('=')? {
            ("n", value) => case.sessions = value.parse().ok()?,
            ("idle", value) => case.idle = value.parse().ok()?,
            ("rate", value) => case.rate = value.parse().ok()?,
            ("dir", value @ ("up" | "down" | "both")) => case.direction = value.to_owned(),
            _ => return None,
        }
    }
    Some(case)
}

impl TryFrom<String> for Case {
    type Error = BadCase;

    fn try_from(text: String) -> Result<Case, BadCase> {
        text.parse()
    }
}

impl From<Case> for String {
    fn from(case: Case) -> String {
        case.to_string()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.size, self.burst)?;
        if self.sessions != SESSIONS {
            write!(f, ",n={}", self.sessions)?;
        }
        if self.idle > 0 {
            write!(f, ",idle={}", self.idle)?;
        }
        if self.direction != "both" {
            write!(f, ",dir={}", self.direction)?;
        }
        if !self.is_full() {
            write!(f, ",rate={}", self.rate)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        for text in USUAL.into_iter().chain(QUICK).chain(["172x10,n=5000,idle=7,dir=up,rate=20000"]) {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
        }
        for text in ["", "1200", "x1", "1200x", "1200x1,", "1200x1,dir=left", "1200x1,n=-1", "1200x1,size=3"]
        {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_title_names_what_is_unusual() {
        let title = |text: &str| text.parse::<Case>().unwrap().title();
        assert_eq!(title("1200x1"), "1200 B, single");
        assert_eq!(title("172x10,n=5000,dir=up"), "172 B, bursts of 10, up only, 5000 sessions");
        assert_eq!(
            title("1200x1,idle=50000,rate=20000"),
            "1200 B, single, 50 000 more registered, 20 000 packets/s"
        );
    }
}
