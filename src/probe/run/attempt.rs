//! One transport: an offer of its own, the answer, a path, and a call over it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::TcpType;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{GOODBYE, Run};
use crate::peer::offer::{Offerer, Wants, with_candidate};
use crate::probe::call::{Caller, End};
use crate::probe::candidates::Remotes;
use crate::probe::cause::{Cause, Fault};
use crate::probe::checks::Credentials;
use crate::probe::facts::{Attempt, AttemptState, Call, Outcome, Transport};
use crate::probe::janus::{Event, Info};
use crate::probe::journal::{clean, millis, shown};
use crate::probe::path::Path;
use crate::probe::reach::Server;
use crate::probe::signalling::Signalling;
use crate::probe::verdict;
use crate::sdp::{self, Description};

/// For the first trickled candidate, where the answer has none.
const FIRST_CANDIDATE: Duration = Duration::from_secs(3);
/// For further ones, where nobody says that the list is complete.
const MORE_CANDIDATES: Duration = Duration::from_millis(300);
impl Run<'_> {
    /// One PeerConnection over one transport. An error of signalling that would meet the next transport too ends the run.
    pub(super) async fn attempt(
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

    pub(super) fn ends(&mut self, state: AttemptState, fault: Option<Fault>) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.state = state;
            attempt.fault = fault;
        }
    }
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
