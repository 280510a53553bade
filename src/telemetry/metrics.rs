//! What a part of the edge tells at a scrape. Each part counts in its own plain fields and lists them here when asked;
//! nothing is counted twice and no counter is shared between workers. [`text`] writes what Prometheus reads.

mod histogram;
pub mod text;

use std::sync::{Arc, PoisonError, RwLock};

pub use histogram::Histogram;

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often a value was below each of some bounds; see [`Histogram`].
    Histogram,
}

/// One value of a family. Labels are bounded: never an address, a ufrag or a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name and value of each label.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A value with its labels.
    pub fn new<const N: usize>(labels: [(&'static str, &str); N], value: f64) -> Self {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Sample { labels, value }
    }
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

    /// A family of these values.
    pub fn of(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        samples: impl IntoIterator<Item = Sample>,
    ) -> Self {
        Family { name, help, kind, samples: samples.into_iter().collect() }
    }
}

/// A part that has something to tell at a scrape.
pub trait MetricSource: Send + Sync {
    /// Everything it counts, also what is still zero.
    fn families(&self) -> Vec<Family>;
}

/// Every part that has something to tell.
#[derive(Default)]
pub struct Sources(RwLock<Vec<Arc<dyn MetricSource>>>);

impl Sources {
    /// Adds a part.
    pub fn add(&self, source: Arc<dyn MetricSource>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// What all parts tell, by name. Where two parts have a family of one name, it is one family; where they have the
    /// same labels too, counters add up and the latest gauge counts.
    pub fn families(&self) -> Vec<Family> {
        let mut all: Vec<Family> = Vec::new();
        for source in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            for family in source.families() {
                match all.iter_mut().find(|known| known.name == family.name) {
                    Some(known) => known.merge(family),
                    None => all.push(family),
                }
            }
        }
        all.sort_by_key(|family| family.name);
        all
    }
}

impl Family {
    fn merge(&mut self, other: Family) {
        for sample in other.samples {
            match self.samples.iter_mut().find(|known| known.labels == sample.labels) {
                Some(known) if self.kind == Kind::Gauge => known.value = sample.value,
                Some(known) => known.value += sample.value,
                None => self.samples.push(sample),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Part(Kind, f64);

    impl MetricSource for Part {
        fn families(&self) -> Vec<Family> {
            let b = Family::single("xrtc_b", "b.", self.0, self.1);
            let labelled = Sample::new([("part", &self.1.to_string())], self.1);
            vec![b, Family::of("xrtc_a_total", "a.", Kind::Counter, [labelled])]
        }
    }

    #[test]
    fn families_of_one_name_become_one_and_stand_in_order() {
        for (kind, expected) in [(Kind::Counter, 5.0), (Kind::Gauge, 3.0)] {
            let sources = Sources::default();
            sources.add(Arc::new(Part(kind, 2.0)));
            sources.add(Arc::new(Part(kind, 3.0)));
            let families = sources.families();
            assert_eq!(families.iter().map(|it| it.name).collect::<Vec<_>>(), ["xrtc_a_total", "xrtc_b"]);
            assert_eq!(families[0].samples.len(), 2);
            assert_eq!(families[1].samples, [Sample { labels: vec![], value: expected }]);
        }
    }
}
