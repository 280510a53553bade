//! \[pure\] The text format 0.0.4 that Prometheus scrapes.

use std::fmt::Write as _;

use super::{Family, Kind, Sample};

/// `Content-Type` of [`encode`]'s result.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families, each with its help and type.
pub fn encode(families: &[Family]) -> String {
    let mut text = String::with_capacity(16 << 10);
    for family in families {
        write_family(&mut text, family);
    }
    text
}

fn write_family(text: &mut String, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {} {help}\n# TYPE {} {kind}", family.name, family.name);
    for sample in &family.samples {
        match family.kind {
            Kind::Histogram => write_part(text, family.name, sample),
            _ => write_sample(text, family.name, "", sample),
        }
    }
}

/// A bucket, whose last one tells the count as well; or the sum.
fn write_part(text: &mut String, name: &str, sample: &Sample) {
    let Some(bound) = sample.labels.iter().find(|(label, _)| *label == "le") else {
        return write_sample(text, name, "_sum", sample);
    };
    write_sample(text, name, "_bucket", sample);
    if bound.1 == "+Inf" {
        let labels = sample.labels.iter().filter(|(label, _)| *label != "le").cloned().collect();
        write_sample(text, name, "_count", &Sample { labels, value: sample.value });
    }
}

fn write_sample(text: &mut String, name: &str, suffix: &str, sample: &Sample) {
    let _ = write!(text, "{name}{suffix}");
    for (index, (label, value)) in sample.labels.iter().enumerate() {
        let open = if index == 0 { '{' } else { ',' };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{open}{label}=\"{value}\"");
    }
    let close = if sample.labels.is_empty() { "" } else { "}" };
    let _ = writeln!(text, "{close} {}", sample.value);
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    #[test]
    fn each_kind_is_written_as_prometheus_reads_it() {
        let labelled = Sample::new([("route", "a\"b\\c\nd"), ("code", "200")], 3.0);
        let mut times = Histogram::new(&[0.1, 1.0]);
        for time in [0.05, 0.1, 0.5, 7.0] {
            times.observe(time);
        }
        let families = [
            Family::of("xrtc_x_total", "Counts\nx.", Kind::Counter, [labelled]),
            Family::single("xrtc_y", "y.", Kind::Gauge, 0.25),
            times.family("xrtc_z_seconds", "z."),
        ];
        assert_eq!(
            encode(&families),
            "# HELP xrtc_x_total Counts\\nx.\n# TYPE xrtc_x_total counter\n\
             xrtc_x_total{route=\"a\\\"b\\\\c\\nd\",code=\"200\"} 3\n\
             # HELP xrtc_y y.\n# TYPE xrtc_y gauge\nxrtc_y 0.25\n\
             # HELP xrtc_z_seconds z.\n# TYPE xrtc_z_seconds histogram\n\
             xrtc_z_seconds_bucket{le=\"0.1\"} 2\nxrtc_z_seconds_bucket{le=\"1\"} 3\n\
             xrtc_z_seconds_bucket{le=\"+Inf\"} 4\nxrtc_z_seconds_count 4\nxrtc_z_seconds_sum 7.65\n"
        );
    }
}
