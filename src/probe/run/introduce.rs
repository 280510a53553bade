//! Who answers at the URL: Janus, a WHIP endpoint, or a stranger.

use std::time::Instant;

use super::Run;
use crate::probe::cause::{Cause, Fault};
use crate::probe::facts::Outcome;
use crate::probe::http::Http;
use crate::probe::janus::{Info, Janus};
use crate::probe::journal::{millis, shown};
use crate::probe::options::Protocol;
use crate::probe::reach::{self, Server};
use crate::probe::signalling::Signalling;
use crate::probe::whip::Whip;

impl Run<'_> {
    /// Finds out who answers, and opens a session there.
    pub(super) async fn introduce(
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
            let http = Http::over(server, self.options, stream).await?;
            return Ok(self.publisher(http));
        }
        self.journal.waits_for("the server to say who it is");
        let start = Instant::now();
        match Janus::over(server, self.options, stream).await.map_err(|fault| self.hinted(fault))? {
            Ok((janus, info)) => self.session(server, janus, info, start).await,
            Err(stranger) => {
                let auto = self.options.protocol == Protocol::Auto && !self.options.url.ws;
                let mut whip = Whip::new(Http::new(server, self.options), self.options);
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

    fn publisher(&mut self, http: Http) -> (Signalling, Info) {
        let whip = Whip::new(http, self.options);
        self.publisher_of(whip)
    }

    fn publisher_of(&mut self, whip: Whip) -> (Signalling, Info) {
        self.server.protocol = Some("whip");
        self.journal.note("whip", Outcome::Info, "publishes silence and a black pixel; WHIP echoes nothing");
        (Signalling::Whip(Box::new(whip)), Info::default())
    }
}
