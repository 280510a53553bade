//! What the packet side tells at a scrape.

use super::PacketSide;
use super::tcp::{StreamCounters, StreamVerdict};
use crate::forward::{Counters, DropReason, StunKind, Wire, WirePlace};
use crate::session::observe::Leg;
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

impl MetricSource for PacketSide {
    fn families(&self) -> Vec<Family> {
        let counters = self.counters();
        let mut families = vec![
            Family::single(
                "xrtc_sessions",
                "Sessions with a client.",
                Kind::Gauge,
                self.live_sessions() as f64,
            ),
            Family::single(
                "xrtc_sessions_registered",
                "Sessions that signalling registered and that have not ended, with a client or without.",
                Kind::Gauge,
                self.known_sessions() as f64,
            ),
            Family::single(
                "xrtc_workers",
                "Packet workers, each a thread with sockets of its own.",
                Kind::Gauge,
                f64::from(self.workers()),
            ),
            Family::single(
                "xrtc_handovers_total",
                "Packets that arrived at a worker which does not have their session and went on to the one that has.",
                Kind::Counter,
                counters.handed_over as f64,
            ),
        ];
        families.extend(wires(&counters));
        families.extend([drops(&counters), stun(&counters), forwarded(&counters)]);
        families.extend(rtp(&counters));
        families
    }
}

fn wires(counters: &Counters) -> [Family; 4] {
    let by_place = |value: fn(&Wire) -> u64| {
        move |place: WirePlace| {
            let transport = if place.tcp { "tcp" } else { "udp" };
            let labels = [("leg", leg(place.leg)), ("direction", direction(place)), ("transport", transport)];
            Sample::new(labels, value(&counters.wire_at(place)) as f64)
        }
    };
    let of_udp = |value: fn(&Wire) -> u64| {
        move |place: WirePlace| {
            Sample::new(
                [("leg", leg(place.leg)), ("direction", direction(place))],
                value(&counters.wire_at(place)) as f64,
            )
        }
    };
    let udp = || WirePlace::all().filter(|place| !place.tcp);
    [
        Family::of(
            "xrtc_packets_total",
            "Packets received and sent on each leg, whatever became of them.",
            Kind::Counter,
            WirePlace::all().map(by_place(|wire| wire.packets)),
        ),
        Family::of(
            "xrtc_bytes_total",
            "Bytes of these packets without IP, UDP and TCP headers.",
            Kind::Counter,
            WirePlace::all().map(by_place(|wire| wire.bytes)),
        ),
        Family::of(
            "xrtc_udp_messages_total",
            "Messages exchanged with the kernel; packets per message tell how much GRO and GSO coalesce.",
            Kind::Counter,
            udp().map(of_udp(|wire| wire.messages)),
        ),
        Family::of(
            "xrtc_udp_calls_total",
            "Batches of messages; messages per batch tell how busy the workers are.",
            Kind::Counter,
            udp().map(of_udp(|wire| wire.calls)),
        ),
    ]
}

fn drops(counters: &Counters) -> Family {
    let reasons = DropReason::ALL.iter();
    Family::of(
        "xrtc_drops_total",
        "Packets that ended at the edge, by reason.",
        Kind::Counter,
        reasons.map(|reason| Sample::new([("reason", reason.label())], counters.drops(*reason) as f64)),
    )
}

fn stun(counters: &Counters) -> Family {
    let mut samples = Vec::new();
    for kind in StunKind::ALL {
        let (mut useful, dropped) = counters.stun(kind);
        if kind == StunKind::ClientRequest {
            useful = useful.saturating_sub(counters.checks_refused + counters.strangers_told);
            let refused = counters.checks_refused as f64;
            samples.push(Sample::new([("kind", kind.label()), ("result", "refused")], refused));
        }
        samples.push(Sample::new([("kind", kind.label()), ("result", "ok")], useful as f64));
        samples.push(Sample::new([("kind", kind.label()), ("result", "dropped")], dropped as f64));
    }
    let told = counters.strangers_told as f64;
    samples.push(Sample::new([("kind", "plain_request"), ("result", "ok")], told));
    samples.push(Sample::new([("kind", "edge_request"), ("result", "sent")], counters.checks_sent as f64));
    Family::of(
        "xrtc_stun_total",
        "STUN messages: checks and answers that arrived, by what came of them, and those of the edge itself.",
        Kind::Counter,
        samples,
    )
}

fn forwarded(counters: &Counters) -> Family {
    Family::of(
        "xrtc_forwarded_packets_total",
        "DTLS, SRTP and SRTCP packets passed on, up: client to backend, down: backend to client.",
        Kind::Counter,
        [
            Sample::new([("direction", "up")], counters.up_packets as f64),
            Sample::new([("direction", "down")], counters.down_packets as f64),
        ],
    )
}

fn rtp(counters: &Counters) -> [Family; 2] {
    let of = |client: u64, backend: u64| {
        [Sample::new([("leg", "client")], client as f64), Sample::new([("leg", "backend")], backend as f64)]
    };
    [
        Family::of(
            "xrtc_rtp_expected_total",
            "RTP packets that a leg's sender has sent, by their sequence numbers.",
            Kind::Counter,
            of(counters.rtp_expected_up, counters.rtp_expected_down),
        ),
        Family::of(
            "xrtc_rtp_received_total",
            "RTP packets of them that reached the edge; what lacks was lost before the edge.",
            Kind::Counter,
            of(counters.rtp_received_up, counters.rtp_received_down),
        ),
    ]
}

impl MetricSource for StreamCounters {
    fn families(&self) -> Vec<Family> {
        let verdicts = StreamVerdict::ALL.iter();
        vec![Family::of(
            "xrtc_connections_total",
            "TCP connections of clients, by what they turned out to be.",
            Kind::Counter,
            verdicts.map(|verdict| Sample::new([("verdict", verdict.label())], self.get(*verdict) as f64)),
        )]
    }
}

fn leg(leg: Leg) -> &'static str {
    match leg {
        Leg::Client => "client",
        Leg::Backend => "backend",
    }
}

fn direction(place: WirePlace) -> &'static str {
    if place.out { "out" } else { "in" }
}
