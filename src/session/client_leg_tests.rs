//! Paths, proofs and egress, in virtual time.

use super::*;

struct World {
    now: Instant,
    leg: ClientLeg,
    serial: u8,
}

fn at(n: u16) -> ClientAddr {
    ClientAddr { listener: 0, remote: SocketAddr::from(([192, 0, 2, 1], 1000 + n)), local: None }
}

impl World {
    fn new() -> Self {
        World { now: Instant::now(), leg: ClientLeg::default(), serial: 0 }
    }

    fn check(&mut self, from: ClientAddr, use_candidate: bool) -> Checked {
        self.serial += 1;
        let id = [self.serial; 12];
        let mut byte = 100;
        let mut random = |buf: &mut [u8]| {
            byte += 1;
            buf.fill((from.remote.port() as u8).wrapping_add(byte));
        };
        self.leg.check(self.now, from, 0, id, use_candidate, &mut random).expect("not a replay")
    }

    fn probes(&mut self) -> Vec<DueProbe> {
        let mut probes = Vec::new();
        self.leg.due_probes(self.now, |probe| probes.push(probe));
        probes
    }

    fn egress(&self) -> Option<SocketAddr> {
        self.leg.egress().map(|at| at.remote)
    }
}

#[test]
fn the_first_address_is_good_at_once() {
    let mut w = World::new();
    let checked = w.check(at(1), false);
    assert!(checked.new && !checked.probe);
    assert_eq!(w.egress(), Some(at(1).remote));
    assert_eq!(w.leg.media(w.now, checked.slot), Ok(None));
}

#[test]
fn a_second_address_must_answer_a_check_before_media_is_taken_or_sent() {
    let mut w = World::new();
    w.check(at(1), true);
    let second = w.check(at(2), true);
    assert!(second.probe);
    assert_eq!(w.egress(), Some(at(1).remote));
    assert_eq!(w.leg.media(w.now, second.slot), Err(Unproven));
    let probe = w.probes()[0];
    assert_eq!(probe.at, at(2));
    assert_eq!(w.leg.answered(second.slot, [9; 12]), None, "a foreign transaction proves nothing");
    assert_eq!(
        w.leg.answered(second.slot, probe.transaction),
        Some(Some(Moved { from: at(1).remote, to: at(2).remote }))
    );
    assert_eq!(w.egress(), Some(at(2).remote));
    assert_eq!(w.leg.media(w.now, second.slot), Ok(None));
}

#[test]
fn a_second_address_without_nomination_is_verified_but_media_stays() {
    let mut w = World::new();
    let first = w.check(at(1), true);
    let second = w.check(at(2), false);
    let probe = w.probes()[0];
    assert_eq!(w.leg.answered(second.slot, probe.transaction), Some(None));
    assert_eq!(w.egress(), Some(at(1).remote));
    assert_eq!(
        w.leg.media(w.now, second.slot),
        Ok(Some(Moved { from: at(1).remote, to: at(2).remote })),
        "the client's own media moves it"
    );
    assert!(w.leg.media(w.now, first.slot).is_ok_and(|moved| moved.is_some()));
}

#[test]
fn a_replayed_check_from_another_address_changes_nothing() {
    let mut w = World::new();
    w.check(at(1), true);
    let replayed = [w.serial; 12];
    assert_eq!(w.leg.check(w.now, at(2), 0, replayed, true, &mut |_| ()), None);
    assert_eq!(w.leg.addresses().count(), 1);
    assert!(
        w.leg.check(w.now, at(1), 0, replayed, true, &mut |_| ()).is_some(),
        "a retransmission is no replay"
    );
}

#[test]
fn probes_slow_down_and_stop_and_start_again_with_the_next_check() {
    let mut w = World::new();
    w.check(at(1), true);
    w.check(at(2), true);
    let start = w.now;
    let mut sent = Vec::new();
    while w.now < start + Duration::from_secs(29) {
        if !w.probes().is_empty() {
            sent.push((w.now - start).as_millis());
        }
        w.now += Duration::from_millis(100);
    }
    assert_eq!(&sent[..4], [0, 500, 1000, 1500]);
    assert!(sent.len() < 16, "{sent:?}");
    assert!(w.check(at(2), true).probe);
    assert_eq!(w.probes().len(), 1);
}

#[test]
fn at_most_eight_addresses_and_the_one_in_use_is_never_evicted() {
    let mut w = World::new();
    w.check(at(0), true);
    for n in 1..40 {
        w.now += Duration::from_millis(10);
        let checked = w.check(at(n), false);
        assert_eq!(checked.evicted.is_some(), n >= 8);
        assert!(w.leg.addresses().count() <= MAX_PATHS);
        assert_eq!(w.egress(), Some(at(0).remote));
    }
}

#[test]
fn a_silent_path_expires_and_the_rest_stays() {
    let mut w = World::new();
    w.check(at(1), true);
    w.now += Duration::from_secs(20);
    w.check(at(2), false);
    w.now += Duration::from_secs(10);
    let mut gone = Vec::new();
    w.leg.expire(w.now, |addr| gone.push(addr));
    assert_eq!(gone, [at(1)]);
    assert_eq!(w.egress(), None);
    assert!(!w.leg.is_empty());
    w.now += Duration::from_secs(20);
    w.leg.expire(w.now, |_| ());
    assert!(w.leg.is_empty());
}

#[test]
fn after_the_only_verified_path_expired_the_next_one_still_proves_itself_or_is_first_again() {
    let mut w = World::new();
    w.check(at(1), true);
    w.now += Duration::from_secs(31);
    w.leg.expire(w.now, |_| ());
    let checked = w.check(at(2), true);
    assert!(!checked.probe);
    assert_eq!(w.egress(), Some(at(2).remote));
}

#[test]
fn a_restart_moves_media_to_a_path_of_the_new_generation() {
    let mut w = World::new();
    w.check(at(1), true);
    let mut byte = 0;
    let mut random = |buf: &mut [u8]| {
        byte += 1;
        buf.fill(byte);
    };
    let second = w.leg.check(w.now, at(2), 1, [77; 12], false, &mut random).expect("no replay");
    assert!(!w.leg.has_verified(1));
    let probe = w.probes()[0];
    assert_eq!(probe.generation, 1);
    w.leg.answered(second.slot, probe.transaction);
    assert!(w.leg.has_verified(1));
    assert_eq!(w.leg.prefer_generation(1), Some(Moved { from: at(1).remote, to: at(2).remote }));
    assert_eq!(w.leg.prefer_generation(1), None);
}
