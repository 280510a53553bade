//! Counts values by how large they are.

use super::{Family, Kind, Sample};

/// How often a value was at most as large as each of some bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last one is for what exceeds them all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one; `bounds` grow.
    pub fn new(bounds: &'static [f64]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[at] += 1;
        self.sum += value;
    }

    /// As it is told: cumulative samples with the label `le`, and the sum without one.
    pub fn family(&self, name: &'static str, help: &'static str) -> Family {
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut total = 0;
        let buckets = bounds.zip(&self.counts).map(|(bound, count)| {
            total += count;
            Sample { labels: vec![("le", bound)], value: total as f64 }
        });
        let mut samples: Vec<_> = buckets.collect();
        samples.push(Sample { labels: Vec::new(), value: self.sum });
        Family { name, help, kind: Kind::Histogram, samples }
    }
}
