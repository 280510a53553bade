use super::*;

/// A sender whose packets arrive as told.
struct Sender {
    reception: Reception,
    micros: u64,
}

impl Sender {
    fn new() -> Self {
        Sender { reception: Reception::default(), micros: 0 }
    }

    fn tick(&self) -> Tick {
        Tick { micros: self.micros as u32, millis: (self.micros / 1000) as u32 }
    }

    fn send(&mut self, ssrc: u32, payload_type: u8, number: u16, timestamp: u32) -> u32 {
        let mut packet = [0; 112];
        packet[0] = 0x80;
        packet[1] = payload_type;
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let tick = self.tick();
        self.reception.packet(tick, &packet).expected
    }

    fn wait(&mut self, micros: u64) {
        self.micros += micros;
    }

    fn only(&self) -> StreamReport {
        let all: Vec<_> = self.reception.streams(self.tick()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }
}

#[test]
fn a_stream_without_loss_has_none_over_several_wraps_of_the_number() {
    let mut sender = Sender::new();
    let mut expected = 0;
    for n in 0..200_000_u32 {
        expected += sender.send(7, 111, (n + 65_000) as u16, n.wrapping_mul(960));
        sender.wait(20_000);
    }
    let report = sender.only();
    assert_eq!((report.received, report.lost, expected), (200_000, 0, 200_000));
    assert_eq!(report.clock_rate, Some(48_000));
    assert!(report.jitter_ms.is_some_and(|jitter| jitter < 0.1), "{report:?}");
    assert_eq!(report.bytes, 200_000 * 112);
    // 50 packets of 112 bytes per second.
    assert!((44_000..46_000).contains(&report.recent_bps), "{report:?}");
}

#[test]
fn every_tenth_packet_lost_is_a_tenth_lost() {
    let mut sender = Sender::new();
    let mut expected = 0;
    for n in 0..10_000_u32 {
        if n % 10 != 5 {
            expected += sender.send(7, 96, n as u16, n * 3000);
        }
        sender.wait(33_333);
    }
    let report = sender.only();
    assert_eq!((report.received, report.lost), (9_000, 1_000));
    assert_eq!(expected, 10_000);
    assert!((0.08..0.12).contains(&report.recent_loss), "{report:?}");
    assert_eq!(report.clock_rate, Some(90_000));
}

#[test]
fn reordered_and_repeated_packets_are_not_lost() {
    let mut sender = Sender::new();
    for n in [1, 2, 4, 3, 5, 5, 8, 7, 6, 9] {
        sender.send(7, 0, n, u32::from(n) * 160);
        sender.wait(20_000);
    }
    let report = sender.only();
    assert_eq!((report.received, report.lost), (9, 0));
}

#[test]
fn jitter_is_found_with_the_rate_that_the_stream_turns_out_to_have() {
    for (rate, step) in [(8_000, 160), (16_000, 320), (48_000, 960), (90_000, 1_800)] {
        let mut sender = Sender::new();
        for n in 0..3_000_u32 {
            // Every other packet is 10 ms late, so the time between two differs by 10 ms from what it should be.
            let late = if n % 2 == 0 { 0 } else { 10_000 };
            sender.wait(late);
            sender.send(7, 100, n as u16, n * step);
            sender.wait(20_000 - late);
        }
        let report = sender.only();
        assert_eq!(report.clock_rate, Some(rate));
        assert!(report.jitter_ms.is_some_and(|jitter| (9.0..11.0).contains(&jitter)), "{rate}: {report:?}");
    }
}

#[test]
fn packets_of_one_frame_make_no_jitter() {
    let mut sender = Sender::new();
    for n in 0..9_000_u32 {
        let frame = n / 10;
        sender.send(7, 96, n as u16, frame * 3_000);
        sender.wait(if n % 10 == 9 { 33_333 - 9 * 2_000 } else { 2_000 });
    }
    assert!(sender.only().jitter_ms.is_some_and(|jitter| jitter < 0.1), "{:?}", sender.only());
}

#[test]
fn a_clock_that_fits_no_rate_gives_no_jitter() {
    let mut sender = Sender::new();
    for n in 0..3_000_u32 {
        sender.send(7, 100, n as u16, n * 10);
        sender.wait(20_000);
    }
    let report = sender.only();
    assert_eq!((report.clock_rate, report.jitter_ms), (None, None));
    assert_eq!((report.received, report.lost), (3_000, 0));
}

#[test]
fn a_sender_that_numbers_anew_starts_anew_and_a_single_wild_number_does_not() {
    let mut sender = Sender::new();
    for n in 0..100 {
        sender.send(7, 96, n, u32::from(n) * 3000);
    }
    assert_eq!(sender.send(7, 96, 40_000, 0), 0);
    sender.send(7, 96, 100, 300_000);
    assert_eq!((sender.only().received, sender.only().lost), (101, 0));
    for n in 50_000..50_100 {
        sender.send(7, 96, n, 0);
    }
    let report = sender.only();
    assert_eq!((report.received, report.lost), (101 + 99, 0), "the first after the jump is not believed");
}

#[test]
fn rtcp_and_short_packets_count_for_no_stream() {
    let mut sender = Sender::new();
    assert_eq!(sender.reception.packet(Tick::default(), &[0x80; 11]), Heard::default());
    for kind in 192..=223 {
        let mut packet = [0; 40];
        (packet[0], packet[1]) = (0x80, kind);
        assert_eq!(sender.reception.packet(Tick::default(), &packet), Heard::default());
    }
    assert_eq!(sender.reception.streams(Tick::default()).count(), 0);
    assert_eq!(sender.send(1, 0x80 | 96, 0, 0), 1, "the marker bit is no part of the payload type");
    assert_eq!(sender.only().payload_type, 96);
}

#[test]
fn a_ninth_stream_waits_until_one_is_silent_and_totals_keep_what_went() {
    let mut sender = Sender::new();
    for ssrc in 0..9 {
        for n in [0, 2] {
            sender.send(ssrc, 96, n, 0);
        }
    }
    assert_eq!(sender.reception.streams(sender.tick()).count(), 8);
    assert_eq!(sender.reception.unfollowed(), 2);
    sender.wait(6_000_000);
    for ssrc in 1..8 {
        sender.send(ssrc, 96, 3, 0);
    }
    assert_eq!(sender.send(8, 96, 9, 0), 1);
    let ssrcs: Vec<_> = sender.reception.streams(sender.tick()).map(|stream| stream.ssrc).collect();
    assert!(ssrcs.contains(&8) && !ssrcs.contains(&0), "{ssrcs:?}");
    assert_eq!(sender.reception.totals(), (16 + 7 + 1, 8));
}

#[test]
fn a_silent_stream_has_no_bitrate() {
    let mut sender = Sender::new();
    for n in 0..500 {
        sender.send(7, 111, n, u32::from(n) * 960);
        sender.wait(20_000);
    }
    assert!(sender.only().recent_bps > 0);
    sender.wait(10_000_000);
    assert_eq!((sender.only().recent_bps, sender.only().idle_ms), (0, 10_020));
}

#[test]
fn hostile_bytes_never_panic() {
    let mut state = 1_u64;
    for len in (0..4_096).step_by(7) {
        let data: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        fuzz(&data);
    }
    for byte in 0..=255 {
        fuzz(&[byte; 700]);
    }
}
