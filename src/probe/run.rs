//! One run from the URL to the verdict: what is tried in which order, and when it is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use str0m::Candidate;
use str0m::net::TcpType;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::call::{Caller, End};
use super::candidates::{self, Remote, RemoteHost, Remotes};
use super::cause::{Cause, Fault};
use super::checks::{self, Credentials};
use super::facts::{
    self, Attempt, AttemptState, Call, Outcome, PathFacts, PathState, Report, Transport, VERSION,
};
use super::janus::{Event, Info, Janus};
use super::journal::{Journal, Show, clean, millis, shown};
use super::options::{Options, Protocol};
use super::path::Path;
use super::reach::{self, Server};
use super::signalling::Signalling;
use super::verdict::{self, Place};
use super::whip::Whip;
use crate::peer::offer::{Offerer, Wants, with_candidate};
use crate::sdp::{self, Description};

/// For the first trickled candidate, where the answer has none.
const FIRST_CANDIDATE: Duration = Duration::from_secs(3);
/// For further ones, where nobody says that the list is complete.
const MORE_CANDIDATES: Duration = Duration::from_millis(300);
/// For goodbyes, which nobody waits for.
const GOODBYE: Duration = Duration::from_secs(2);

/// Probes once, and shows each step as it happens.
pub(super) async fn run(options: &Options, show: Show) -> Report {
    let start = Instant::now();
    let started = UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut run = Run {
        options,
        journal: Journal::new(start, show),
        server: facts::Server::default(),
        attempts: Vec::new(),
        remotes: None,
        echo: true,
    };
    let walked = timeout(options.timeout, run.walk()).await;
    let verdict = match walked {
        Ok(Ok(())) => verdict::overall(&run.attempts, run.echo),
        Ok(Err(fault)) => fault,
        Err(_) => run.out_of_time(),
    };
    let outcome = match verdict.cause {
        Cause::Works => Outcome::Ok,
        Cause::Degraded => Outcome::Warn,
        _ => Outcome::Fail,
    };
    run.journal.note("verdict", outcome, verdict.message.clone());
    Report {
        version: VERSION,
        url: options.url.shown(),
        started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
        took_ms: millis(start.elapsed()),
        ok: verdict.cause == Cause::Works,
        exit_code: verdict.cause.exit_code(),
        verdict,
        warnings: run.journal.warnings,
        server: run.server,
        transports: run.attempts,
        steps: run.journal.steps,
    }
}

struct Run<'a> {
    options: &'a Options,
    journal: Journal,
    server: facts::Server,
    attempts: Vec<Attempt>,
    /// What the server offered last.
    remotes: Option<Remotes>,
    /// Whether what is sent comes back.
    echo: bool,
}

impl Run<'_> {
    async fn walk(&mut self) -> Result<(), Fault> {
        let (server, stream) = reach::reach(self.options, &mut self.journal).await?;
        self.server.address = Some(server.addr.to_string());
        let (mut signalling, info) = self.introduce(&server, stream).await?;
        self.echo = signalling.echoes();
        for transport in self.options.transport.transports() {
            self.attempt(*transport, &server, &mut signalling, &info).await?;
        }
        self.journal.waits_for("goodbye");
        let _ = timeout(GOODBYE, signalling.end()).await;
        Ok(())
    }

    /// Finds out who answers, and opens a session there.
    async fn introduce(
        &mut self,
        server: &Server,
        stream: reach::Stream,
    ) -> Result<(Signalling, Info), Fault> {
        let whip = match self.options.protocol {
            Protocol::Whip => true,
            Protocol::Janus => false,
            Protocol::Auto => self.options.url.looks_like_whip(),
        };
        if whip {
            let http = super::http::Http::over(server, self.options, stream).await?;
            return Ok(self.publisher(http));
        }
        self.journal.waits_for("the server to say who it is");
        let start = Instant::now();
        match Janus::over(server, self.options, stream).await.map_err(|fault| self.hinted(fault))? {
            Ok((janus, info)) => self.session(server, janus, info, start).await,
            Err(stranger) => {
                let auto = self.options.protocol == Protocol::Auto && !self.options.url.ws;
                let mut whip = Whip::new(super::http::Http::new(server, self.options), self.options);
                match auto && matches!(whip.says_so().await, Ok(true)) {
                    true => Ok(self.publisher_of(whip)),
                    false => self.without_info(server, stranger, start).await,
                }
            }
        }
    }

    /// What Janus' WebSocket port says to plain HTTP looks like a matter of credentials.
    fn hinted(&self, mut fault: Fault) -> Fault {
        if fault.cause == Cause::HttpUnauthorized && !self.options.url.ws {
            fault.fix.push_str("; Janus' WebSocket port answers plain HTTP like this too: try ws:// there");
        }
        fault
    }

    /// Not everything that speaks the Janus API has `info`; whether this does is told by `create`.
    async fn without_info(
        &mut self,
        server: &Server,
        stranger: Fault,
        start: Instant,
    ) -> Result<(Signalling, Info), Fault> {
        if self.options.url.ws {
            return Err(stranger);
        }
        let stream = server.open().await?;
        let mut janus = Janus::without_info(server, self.options, stream).await?;
        match janus.create(server, self.options).await {
            Ok(()) => Ok(self.greeted(janus, Info::default(), start)),
            Err(fault) if fault.cause == Cause::JanusUnauthorized => Err(fault),
            Err(_) => Err(stranger),
        }
    }

    async fn session(
        &mut self,
        server: &Server,
        mut janus: Janus,
        info: Info,
        start: Instant,
    ) -> Result<(Signalling, Info), Fault> {
        self.server.protocol = Some("janus");
        self.server.name = info.name.clone();
        self.server.version = info.version.clone();
        self.journal.waits_for("Janus to open a session");
        janus.create(server, self.options).await?;
        Ok(self.greeted(janus, info, start))
    }

    fn greeted(&mut self, janus: Janus, info: Info, start: Instant) -> (Signalling, Info) {
        self.server.protocol = Some("janus");
        let name = info.name.clone().unwrap_or_else(|| "something that speaks the Janus API".to_owned());
        let version = info.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let took = shown(millis(start.elapsed()));
        self.journal.note("janus", Outcome::Ok, format!("{name}{version}, session opened in {took}"));
        (Signalling::Janus(Box::new(janus)), info)
    }

    fn publisher(&mut self, http: super::http::Http) -> (Signalling, Info) {
        let whip = Whip::new(http, self.options);
        self.publisher_of(whip)
    }

    fn publisher_of(&mut self, whip: Whip) -> (Signalling, Info) {
        self.server.protocol = Some("whip");
        self.journal.note("whip", Outcome::Info, "publishes silence and a black pixel; WHIP echoes nothing");
        (Signalling::Whip(Box::new(whip)), Info::default())
    }

    /// One PeerConnection over one transport. An error of signalling that would meet the next transport too ends the run.
    async fn attempt(
        &mut self,
        transport: Transport,
        server: &Server,
        signalling: &mut Signalling,
        info: &Info,
    ) -> Result<(), Fault> {
        let offered = self.remotes.as_ref().is_none_or(|remotes| !remotes.over(transport).is_empty());
        let attempt =
            Attempt { transport, state: AttemptState::Failed, fault: None, paths: Vec::new(), call: None };
        self.attempts.push(attempt);
        if !offered {
            self.not_offered(transport, info);
            return Ok(());
        }
        let tried = self.try_transport(transport, server, signalling, info).await;
        self.journal.waits_for("goodbye");
        let _ = timeout(GOODBYE, signalling.close()).await;
        match tried {
            Ok(()) => Ok(()),
            // A server that took one offer and refuses the next is a finding about that transport.
            Err(fault) if self.attempts.len() > 1 => {
                self.journal.note(transport.step(), Outcome::Fail, fault.message.clone());
                self.ends(AttemptState::Failed, Some(fault));
                Ok(())
            }
            Err(fault) => {
                self.ends(AttemptState::Failed, Some(fault.clone()));
                Err(fault)
            }
        }
    }

    async fn try_transport(
        &mut self,
        transport: Transport,
        server: &Server,
        signalling: &mut Signalling,
        info: &Info,
    ) -> Result<(), Fault> {
        let bound = match transport {
            Transport::Udp => UdpSocket::bind(SocketAddr::new(server.local, 0)).await.ok(),
            _ => None,
        };
        let local = bound.as_ref().and_then(|socket| socket.local_addr().ok());
        let wants = Wants { echo: self.echo, data: self.echo };
        let (mut offerer, offer) = Offerer::new(wants, Instant::now()).map_err(|error| broken(&error))?;
        let local = local.unwrap_or(SocketAddr::new(server.local, 9));
        let offer = with_candidate(&offer, transport == Transport::Udp, local);

        self.journal.waits_for("an answer to the offer");
        let start = Instant::now();
        let answer = signalling.open(&offer).await?;
        let described = Description::read(&answer).map_err(|error| bad_answer(&error))?;
        let took = start.elapsed();

        self.journal.waits_for("candidates");
        let remotes = gather(&described, signalling).await;
        self.meet(transport, &described, &remotes, info, took);
        let list = remotes.over(transport);
        let empty = remotes.list.is_empty();
        self.remotes = Some(remotes);
        if empty {
            return Err(no_candidates());
        }
        if list.is_empty() {
            self.not_offered(transport, info);
            return Ok(());
        }
        let credentials = Description::read(&offer)
            .ok()
            .and_then(|offer| Credentials::of(&offer, &described))
            .ok_or_else(|| bad_answer(&"it accepts nothing of what was offered"))?;
        let best = self.check(transport, &list, &credentials, server, bound).await;
        match best {
            Some((row, path)) => {
                self.call(transport, row, path, &mut offerer, &answer, &described, signalling).await
            }
            None => {
                self.no_path(transport, server);
                Ok(())
            }
        }
    }

    fn meet(
        &mut self,
        transport: Transport,
        answer: &Description<'_>,
        remotes: &Remotes,
        info: &Info,
        took: Duration,
    ) {
        if answer.ice_lite && info.ice_lite == Some(false) {
            self.server.edge = Some(true);
        }
        let edge = if self.server.edge == Some(true) { ", ends ICE in front of Janus" } else { "" };
        let lite = if answer.ice_lite { "ice-lite" } else { "full ICE" };
        let took = shown(millis(took));
        let count = |transport| remotes.over(transport).len();
        let candidates = format!("candidates: {} UDP, {} TCP", count(Transport::Udp), count(Transport::Tcp));
        self.journal.note(
            transport.step(),
            Outcome::Ok,
            format!("answer in {took}: {lite}{edge}; {candidates}"),
        );
    }

    /// Checks all candidates at once; returns the row and the path of the first in the server's order that answers.
    async fn check(
        &mut self,
        transport: Transport,
        list: &[Remote],
        credentials: &Credentials,
        server: &Server,
        bound: Option<UdpSocket>,
    ) -> Option<(usize, Path)> {
        self.journal.waits_for(format!("answers to {} checks", transport.name()));
        let signalling = server.addr.ip();
        let mut bound = bound;
        let first = self.attempts.len() - 1;
        self.attempts[first].paths = list.iter().map(|remote| remote.row(signalling)).collect();
        let mut running: FuturesUnordered<_> = list
            .iter()
            .enumerate()
            .map(|(row, remote)| {
                let suits =
                    matches!(remote.host, RemoteHost::Ip(ip) if ip.is_ipv4() == server.local.is_ipv4());
                let socket = if suits { bound.take() } else { None };
                let facts = remote.row(signalling);
                async move {
                    let (facts, path) = check_one(transport, remote, credentials, facts, socket).await;
                    (row, facts, path)
                }
            })
            .collect();
        let mut best: Option<(usize, Path)> = None;
        while let Some((row, facts, path)) = running.next().await {
            self.show_path(transport, &facts);
            let answers = facts.state == PathState::Answers;
            self.attempts[first].paths[row] = facts;
            if let Some(path) = path.filter(|_| answers)
                && best.as_ref().is_none_or(|(known, _)| row < *known)
            {
                best = Some((row, path));
            }
        }
        best
    }

    fn show_path(&mut self, transport: Transport, facts: &PathFacts) {
        let at = format!("{} {}", transport.name(), facts.candidate);
        let outcome = match facts.state {
            PathState::Answers => Outcome::Ok,
            PathState::NoTls | PathState::NoRoute => Outcome::Info,
            _ => Outcome::Fail,
        };
        let rtt = facts.rtt_ms.map(|rtt| format!(", {}", shown(rtt))).unwrap_or_default();
        self.journal.note(transport.step(), outcome, format!("{at}: {}{rtt}", verdict::outcome(facts)));
        if let Some(why) = facts.browsers.filter(|_| facts.state == PathState::Answers) {
            self.journal.warn(transport.step(), format!("{at} works from here, not from browsers: {why}"));
        }
    }

    fn no_path(&mut self, transport: Transport, server: &Server) {
        let address = server.addr.ip().to_string();
        let place = Place { address: &address, scope: candidates::scope(server.addr.ip()) };
        let paths = self.attempts.last().map(|attempt| attempt.paths.clone()).unwrap_or_default();
        // Plain ICE-TCP without TLS around it is nothing that somebody promised.
        let no_tls = paths.iter().any(|path| path.state == PathState::NoTls);
        match no_tls {
            true => self.ends(AttemptState::NotOffered, None),
            false => self.ends(AttemptState::Failed, Some(verdict::no_path(transport, &paths, place))),
        }
    }

    fn not_offered(&mut self, transport: Transport, info: &Info) {
        let why = match transport {
            Transport::Udp => "the answer has no UDP candidate",
            _ if info.ice_tcp == Some(false) && self.server.edge != Some(true) => {
                "the answer has no TCP candidate (ice_tcp is off in Janus)"
            }
            _ => "the answer has no TCP candidate",
        };
        self.journal.note(
            transport.step(),
            Outcome::Info,
            format!("{} is not offered: {why}", transport.name()),
        );
        self.ends(AttemptState::NotOffered, None);
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the call, and only here they meet")]
    async fn call(
        &mut self,
        transport: Transport,
        row: usize,
        mut path: Path,
        offerer: &mut Offerer,
        answer: &str,
        described: &Description<'_>,
        signalling: &mut Signalling,
    ) -> Result<(), Fault> {
        let (local, remote) = pair(transport, &path).map_err(|error| broken(&error))?;
        offerer.accept(answer, local, remote).map_err(|error| bad_answer(&error))?;
        let index = self.attempts.len() - 1;
        let candidate = self.attempts[index].paths[row].candidate.clone();
        let call = self.attempts[index].call.insert(expected(candidate, described, self.echo));
        self.journal.waits_for(format!("ICE, DTLS and media over {}", transport.name()));
        let mut caller = Caller {
            offerer,
            path: &mut path,
            transport,
            signalling,
            call,
            echo: self.echo,
            journal: &mut self.journal,
        };
        let end = caller.run().await;
        let call = call.clone();
        let announced = fingerprint(answer);
        let fault = verdict::call_fault(transport, &end, &call, announced, self.echo);
        self.show_call(transport, &call, &end, fault.as_ref());
        let state = if fault.is_none() { AttemptState::Works } else { AttemptState::Failed };
        self.ends(state, fault);
        Ok(())
    }

    fn show_call(&mut self, transport: Transport, call: &Call, end: &End, fault: Option<&Fault>) {
        let step = transport.step();
        if *end == End::Done {
            for text in media_lines(call, self.echo) {
                let outcome = if fault.is_some() { Outcome::Info } else { Outcome::Ok };
                self.journal.note(step, outcome, text);
            }
        }
        if let Some(fault) = fault {
            self.journal.note(step, Outcome::Fail, fault.message.clone());
        }
    }

    fn ends(&mut self, state: AttemptState, fault: Option<Fault>) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.state = state;
            attempt.fault = fault;
        }
    }

    fn out_of_time(&mut self) -> Fault {
        let seconds = self.options.timeout.as_secs_f64();
        let works: Vec<_> = self
            .attempts
            .iter()
            .filter(|attempt| attempt.state == AttemptState::Works)
            .map(|attempt| attempt.transport.name())
            .collect();
        let so_far =
            if works.is_empty() { String::new() } else { format!("; {} had worked", works.join(", ")) };
        Fault::new(
            Cause::Timeout,
            format!("not done within {seconds} s: it still waited for {}{so_far}", self.journal.waiting),
            "give it more time with --timeout, or look at what it waited for",
        )
    }
}

fn broken(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Cause::Local, clean(&error.to_string()), "report this with the output of --json")
}

fn bad_answer(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(
        Cause::BadAnswer,
        format!("the answer to the offer cannot be used: {}", clean(&error.to_string())),
        "what answers the offer, or changes the answer on the way, is broken: look at its log",
    )
}

fn no_candidates() -> Fault {
    Fault::new(
        Cause::NoCandidates,
        "the answer names no address to send media to, and none was trickled",
        "at the edge: is there a service with `enable_ice` and candidate_ips? In Janus: does it find an interface, and is its rtp_port_range free?",
    )
}

/// The candidates of the answer, and those that are trickled until nobody has more to say.
async fn gather(answer: &Description<'_>, signalling: &mut Signalling) -> Remotes {
    let mut remotes = Remotes::of(answer);
    while !remotes.complete {
        let patience = if remotes.list.is_empty() { FIRST_CANDIDATE } else { MORE_CANDIDATES };
        match timeout(patience, signalling.event()).await {
            Ok(Event::Candidate(line)) => remotes.add_line(&line),
            Ok(Event::CandidatesEnd) => remotes.complete = true,
            Ok(Event::Hangup(_) | Event::Gone(_)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    remotes
}

async fn check_one(
    transport: Transport,
    remote: &Remote,
    credentials: &Credentials,
    mut facts: PathFacts,
    bound: Option<UdpSocket>,
) -> (PathFacts, Option<Path>) {
    let addr = match address(remote).await {
        Ok(addr) => addr,
        Err(why) => {
            facts.state = PathState::NoAddress;
            facts.detail = Some(why);
            return (facts, None);
        }
    };
    let start = Instant::now();
    match Path::open(transport, addr, bound).await {
        Ok(mut path) => {
            facts.connect_ms = (transport != Transport::Udp).then(|| millis(start.elapsed()));
            checks::check(&mut path, credentials, &mut facts).await;
            (facts, Some(path))
        }
        Err(closed) => {
            facts.state = closed.state;
            facts.detail = Some(closed.detail);
            (facts, None)
        }
    }
}

async fn address(remote: &Remote) -> Result<SocketAddr, String> {
    match &remote.host {
        RemoteHost::Ip(ip) => Ok(SocketAddr::new(*ip, remote.port)),
        RemoteHost::Name(name) if name.to_ascii_lowercase().ends_with(".local") => {
            Err("an mDNS name, which is known in its own network at most".to_owned())
        }
        RemoteHost::Name(name) => {
            let found = timeout(Duration::from_secs(3), lookup_host((name.as_str(), remote.port))).await;
            let mut found = found
                .map_err(|_| "the name server does not answer".to_owned())?
                .map_err(|error| clean(&error.to_string()))?;
            found.next().ok_or_else(|| "a name without an address".to_owned())
        }
    }
}

/// The only pair that the call may use.
fn pair(transport: Transport, path: &Path) -> Result<(Candidate, Candidate), str0m::error::IceError> {
    if transport == Transport::Udp {
        return Ok((Candidate::host(path.local, "udp")?, Candidate::host(path.remote, "udp")?));
    }
    let tcp = |addr, kind| Candidate::builder().tcp().host(addr).tcptype(kind).build();
    Ok((tcp(path.local, TcpType::Active)?, tcp(path.remote, TcpType::Passive)?))
}

/// What the answer takes of the offer, whose m-sections are audio, video, data.
fn expected(candidate: String, answer: &Description<'_>, echo: bool) -> Call {
    let takes = |index: usize| answer.sections.get(index).is_some_and(|section| !section.rejected);
    let mut call = Call { candidate, ..Call::default() };
    call.audio.negotiated = takes(0);
    call.video.negotiated = takes(1);
    call.data.offered = echo;
    call.data.negotiated = echo && takes(2);
    call
}

fn fingerprint(answer: &str) -> Option<&str> {
    let mut attributes = sdp::lines(answer).filter_map(|line| line.attribute());
    attributes.find(|(name, _)| name.eq_ignore_ascii_case("fingerprint")).map(|(_, value)| value)
}

fn media_lines(call: &Call, echo: bool) -> Vec<String> {
    let mut out = Vec::new();
    for (name, media) in [("audio", &call.audio), ("video", &call.video)] {
        let rtt = media.rtt_ms.map(|rtt| format!(", {}", shown(rtt))).unwrap_or_default();
        out.push(match (media.negotiated, echo) {
            (false, _) => format!("{name}: not taken by the answer"),
            (true, true) => format!("{name}: {} of {} frames came back{rtt}", media.returned, media.sent),
            (true, false) => {
                let lost =
                    media.reported_lost.map(|lost| format!(", the server reports {lost} packets lost"));
                format!("{name}: {} frames sent{}", media.sent, lost.unwrap_or_default())
            }
        });
    }
    if call.data.negotiated {
        let rtt = call.data.rtt_ms.map(|rtt| format!(", {}", shown(rtt))).unwrap_or_default();
        out.push(format!("data: {} of {} messages came back{rtt}", call.data.returned, call.data.sent));
    }
    out
}
