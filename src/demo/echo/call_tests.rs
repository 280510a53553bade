//! A call with an endpoint of `str0m` on the other side, in virtual time.

use std::collections::VecDeque;

use str0m::change::SdpAnswer;
use str0m::channel::ChannelId;
use str0m::media::{Direction, MediaKind};
use str0m::rtp::SeqNo;

use super::*;

const STEP: Duration = Duration::from_millis(5);

fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A browser's part: it offers, sends numbered packets of video, and keeps what comes back.
struct Browser {
    rtc: Rtc,
    channel: ChannelId,
    video: Mid,
    back: Vec<(u64, u32, Vec<u8>)>,
    texts: Vec<String>,
    asked_for_picture: usize,
    open: bool,
}

struct World {
    now: Instant,
    browser: Browser,
    call: Call,
    happened: Vec<Happening>,
    /// Whether packets of either side still arrive.
    wire: bool,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let mut rtc = peer::settings().set_rtp_mode(true).build(now);
        rtc.add_local_candidate(Candidate::host(addr(1), "udp").expect("a candidate"));
        let mut call = Call::new(addr(2), now);
        let mut changes = rtc.sdp_api();
        let video = changes.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let channel = changes.add_channel("data".to_owned());
        let (offer, pending) = changes.apply().expect("an offer");
        let answer = call.answer(&offer.to_sdp_string()).expect("an answer");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("accepted");
        let (back, texts) = (Vec::new(), Vec::new());
        let browser = Browser { rtc, channel, video, back, texts, asked_for_picture: 0, open: false };
        World { now, browser, call, happened: Vec::new(), wire: true }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.call.ended().is_none() {
            let mut wire = VecDeque::new();
            peer::wake(&mut self.browser.rtc, self.now).expect("lives");
            self.browser.drain(&mut wire);
            self.work(&mut wire);
            while let Some(sent) = wire.pop_front().filter(|_| self.wire) {
                let got = peer::datagram(sent.source, sent.destination, &sent.contents).expect("sense");
                let got = Input::Receive(self.now, got);
                if sent.destination == addr(2) {
                    assert!(self.call.accepts(&got));
                    self.call.receive(got);
                    self.work(&mut wire);
                } else {
                    self.browser.rtc.handle_input(got).expect("taken");
                    self.browser.drain(&mut wire);
                }
            }
            self.now += STEP;
        }
    }

    fn work(&mut self, wire: &mut VecDeque<Transmit>) {
        let happened = &mut self.happened;
        self.call.work(
            self.now,
            Outbox {
                datagrams: &mut |out| wire.push_back(copy(out)),
                happenings: &mut |happening| happened.push(happening),
            },
        );
    }

    fn send_video(&mut self, sequence: u64, time: u32, payload: &[u8]) {
        let mut api = self.browser.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.browser.video, None).expect("a stream");
        let pt = 96.into();
        stream.write_rtp(
            RtpWrite::new(pt, SeqNo::from(sequence), time, self.now, payload.to_vec()).nackable(true),
        );
        self.run(STEP);
    }
}

impl Browser {
    fn drain(&mut self, wire: &mut VecDeque<Transmit>) {
        let (back, texts, open, asked) =
            (&mut self.back, &mut self.texts, &mut self.open, &mut self.asked_for_picture);
        peer::drain(&mut self.rtc, |_, out| match out {
            Out::Datagram(out) => wire.push_back(out),
            Out::Event(Event::RtpPacket(packet)) => {
                back.push((*packet.seq_no, packet.header.timestamp, packet.payload.to_vec()));
            }
            Out::Event(Event::ChannelData(data)) => {
                texts.push(String::from_utf8(data.data).expect("text"));
            }
            Out::Event(Event::ChannelOpen(..)) => *open = true,
            Out::Event(Event::KeyframeRequest(_)) => *asked += 1,
            Out::Event(_) => {}
        })
        .expect("lives");
    }
}

fn copy(out: &Transmit) -> Transmit {
    Transmit {
        proto: out.proto,
        source: out.source,
        destination: out.destination,
        contents: out.contents.to_vec().into(),
    }
}

#[test]
fn packets_and_messages_come_back_and_a_whole_picture_is_asked_for() {
    let mut world = World::new();
    world.run(Duration::from_secs(2));
    assert!(world.happened.contains(&Happening::Up) && world.browser.open, "{:?}", world.happened);
    for number in 0..20_u32 {
        world.send_video(1000 + u64::from(number), number * 3000, &[number as u8; 100]);
    }
    world.run(Duration::from_millis(200));
    let expected: Vec<_> = (0..20_u32).map(|n| (1000 + u64::from(n), n * 3000, vec![n as u8; 100])).collect();
    assert_eq!(world.browser.back, expected);
    assert!(world.browser.asked_for_picture > 0);
    let mid = world.browser.video.to_string();
    assert!(world.happened.contains(&Happening::Media { mid, video: true, receiving: true }));

    let channel = world.browser.channel;
    world.browser.rtc.channel(channel).expect("open").write(false, b"hello").expect("written");
    world.run(Duration::from_millis(200));
    assert_eq!(world.browser.texts, [format!("{TEXT_PREFIX}hello")]);
}

#[test]
fn what_is_not_wished_does_not_come_back_and_leaves_no_hole() {
    let mut world = World::new();
    world.run(Duration::from_secs(2));
    world.send_video(10, 0, b"a");
    world.call.wish(Wishes { video: Some(false), ..Wishes::default() });
    world.send_video(11, 3000, b"b");
    world.call.wish(Wishes { video: Some(true), bitrate: Some(100_000), ..Wishes::default() });
    world.send_video(12, 6000, b"c");
    world.run(Duration::from_millis(200));
    let back: Vec<_> =
        world.browser.back.iter().map(|(sequence, _, payload)| (*sequence, payload.as_slice())).collect();
    assert_eq!(back, [(10, &b"a"[..]), (11, b"c")]);
}

#[test]
fn an_ice_restart_gets_new_credentials_and_the_call_goes_on() {
    let mut world = World::new();
    world.run(Duration::from_secs(2));
    let mut changes = world.browser.rtc.sdp_api();
    changes.ice_restart(true);
    let (offer, pending) = changes.apply().expect("an offer");
    let answer = world.call.answer(&offer.to_sdp_string()).expect("an answer");
    let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
    world.browser.rtc.sdp_api().accept_answer(pending, answer).expect("accepted");
    world.run(Duration::from_secs(2));
    world.send_video(10, 0, b"a");
    world.run(Duration::from_millis(200));
    assert_eq!(world.browser.back.len(), 1);
    assert_eq!(world.call.ended(), None);
}

#[test]
fn a_call_that_nobody_connects_or_that_is_lost_ends() {
    let now = Instant::now();
    let mut call = Call::new(addr(2), now);
    call.work(now, Outbox { datagrams: &mut |_| {}, happenings: &mut |_| {} });
    assert!(call.wake_at() <= now + CONNECT_WITHIN);
    call.work(now + CONNECT_WITHIN, Outbox { datagrams: &mut |_| {}, happenings: &mut |_| {} });
    assert_eq!(call.ended(), Some("ICE failed"));

    let mut world = World::new();
    world.run(Duration::from_secs(2));
    world.wire = false;
    world.run(Duration::from_secs(120));
    assert_eq!(world.call.ended(), Some("ICE failed"));
}

#[test]
fn hanging_up_says_goodbye() {
    let mut world = World::new();
    world.run(Duration::from_secs(2));
    let mut sent = 0;
    world.call.hang_up();
    world.call.work(world.now, Outbox { datagrams: &mut |_| sent += 1, happenings: &mut |_| {} });
    assert_eq!(world.call.ended(), Some("Close PC"));
    assert!(sent > 0, "the peer is not told");
}
