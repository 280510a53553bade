//! One run from the URL to the verdict: what is tried in which order, and when it is over.
//!
//! [`introduce`] finds out who answers; then [`attempt`] makes one PeerConnection for each transport, for which
//! [`path_search`] finds the path.

use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::time::timeout;

use super::candidates::Remotes;
use super::cause::{Cause, Fault};
use super::facts::{self, Attempt, AttemptState, Outcome, Report, VERSION};
use super::journal::{Journal, Show, millis};
use super::options::Options;
use super::reach;
use super::signalling::Signalling;
use super::verdict;

mod attempt;
mod introduce;
mod path_search;

/// For goodbyes, which nobody waits for.
const GOODBYE: Duration = Duration::from_secs(2);

/// Probes once, and shows each step as it happens. `None`: Ctrl-C came first, and what was open at the server has been ended.
pub(super) async fn run(options: &Options, show: Show) -> Option<Report> {
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
    let mut signalling = None;
    let walked = tokio::select! {
        walked = timeout(options.timeout, run.walk(&mut signalling)) => walked,
        _ = tokio::signal::ctrl_c() => {
            if let Some(signalling) = &mut signalling {
                let _ = timeout(GOODBYE, signalling.leave()).await;
            }
            return None;
        }
    };
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
    Some(Report {
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
    })
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
    async fn walk(&mut self, signalling: &mut Option<Signalling>) -> Result<(), Fault> {
        let (server, stream) = reach::reach(self.options, &mut self.journal).await?;
        self.server.address = Some(server.addr.to_string());
        let (made, info) = self.introduce(&server, stream).await?;
        let signalling = signalling.insert(made);
        self.echo = signalling.echoes();
        for transport in self.options.transport.transports() {
            self.attempt(*transport, &server, signalling, &info).await?;
        }
        self.journal.waits_for("goodbye");
        let _ = timeout(GOODBYE, signalling.end()).await;
        Ok(())
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
