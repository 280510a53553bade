//! What a TURN service tells at a scrape.

use super::TurnSide;
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};
use crate::turn::{AuthResult, Denial, Flow, TurnDrop};

impl MetricSource for TurnSide {
    fn families(&self) -> Vec<Family> {
        let counters = self.counters();
        let flows = [("up", counters.traffic.up), ("down", counters.traffic.down)];
        let inside = [("up", counters.inside.up), ("down", counters.inside.down)];
        let labelled = |name, help, label: &'static str, values: Vec<(&str, u64)>| {
            let samples = values.into_iter().map(|(value, count)| self.sample(Some((label, value)), count));
            Family { name, help, kind: Kind::Counter, samples: samples.collect() }
        };
        let directions = |name, help, flows: [(&'static str, Flow); 2], count: fn(Flow) -> u64| {
            labelled(
                name,
                help,
                "direction",
                flows.map(|(direction, flow)| (direction, count(flow))).to_vec(),
            )
        };
        let auth = AuthResult::ALL.iter().map(|result| (result.label(), counters.auth(*result)));
        let denials = Denial::ALL.iter().map(|reason| (reason.label(), counters.denials(*reason)));
        let drops = TurnDrop::ALL.iter().map(|reason| (reason.label(), counters.drops(*reason)));
        let refused = vec![("quota", counters.refused_quota), ("capacity", counters.refused_capacity)];
        vec![
            self.single(
                "xrtc_turn_allocations",
                "Live TURN allocations.",
                Kind::Gauge,
                self.allocations() as u64,
            ),
            self.single(
                "xrtc_turn_allocated_total",
                "TURN allocations made.",
                Kind::Counter,
                counters.allocated,
            ),
            labelled(
                "xrtc_turn_refused_total",
                "TURN allocations refused for want of room.",
                "reason",
                refused,
            ),
            self.single(
                "xrtc_turn_bindings_total",
                "STUN Binding requests answered.",
                Kind::Counter,
                counters.bindings,
            ),
            directions("xrtc_turn_packets_total", "Packets relayed; up is from the client.", flows, |flow| {
                flow.packets
            }),
            directions("xrtc_turn_bytes_total", "Payload bytes relayed.", flows, |flow| flow.bytes),
            directions(
                "xrtc_turn_inside_packets_total",
                "Of the packets, those to and from the edge's own ICE port.",
                inside,
                |flow| flow.packets,
            ),
            labelled(
                "xrtc_turn_auth_total",
                "TURN requests by what their credential came to.",
                "result",
                auth.collect(),
            ),
            labelled(
                "xrtc_turn_denied_peers_total",
                "Peers that no relay may reach.",
                "reason",
                denials.collect(),
            ),
            labelled("xrtc_turn_drops_total", "Packets thrown away in silence.", "reason", drops.collect()),
        ]
    }
}

impl TurnSide {
    fn single(&self, name: &'static str, help: &'static str, kind: Kind, value: u64) -> Family {
        Family { name, help, kind, samples: vec![self.sample(None, value)] }
    }

    fn sample(&self, label: Option<(&'static str, &str)>, value: u64) -> Sample {
        let mut labels = vec![("service", self.service().to_string())];
        labels.extend(label.map(|(name, value)| (name, value.to_owned())));
        Sample { labels, value: value as f64 }
    }
}
