//! What a part of the edge tells at a scrape. Each part counts in its own plain fields and lists them here when asked;
//! nothing is counted twice and no counter is shared between workers.

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One value of a family. Labels are bounded: never an address, a ufrag or a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name and value of each label.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// All values of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Starts with `xrtc_`.
    pub name: &'static str,
    /// One sentence, for a person.
    pub help: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Its values now.
    pub samples: Vec<Sample>,
}

impl Family {
    /// A family with one value and no labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        Family { name, help, kind, samples: vec![Sample { labels: Vec::new(), value }] }
    }
}

/// A part that has something to tell at a scrape.
pub trait MetricSource: Send + Sync {
    /// Everything it counts, also what is still zero.
    fn families(&self) -> Vec<Family>;
}
