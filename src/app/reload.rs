//! The file is read again, at SIGHUP or when it changed: it is refused as a whole, with what `xrtc check` says of it, or the
//! edge becomes what it asks for. One line tells what changed.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

use super::edge::Edge;
use super::systemd;
use super::watch::Watcher;
use crate::config::resolve::{self, Candidate};
use crate::config::{Config, Loaded};

/// Why the file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Signal,
    Change,
}

/// What reloads need to know besides the edge.
pub(super) struct Reloads {
    file: PathBuf,
    watcher: Option<Watcher>,
    /// Of the contents that were read last, whatever came of them.
    seen: Option<u64>,
}

impl Reloads {
    pub(super) fn new(config: &Config) -> Self {
        let file = config.file.clone();
        let mut reloads = Reloads { seen: None, file, watcher: None };
        reloads.watch(config.watch);
        // Watched from here on. What happened to the file while the edge started shows in what it says now.
        let now = digest(&reloads.file);
        if !config.watch || says_the_same(config) {
            reloads.seen = now;
        }
        reloads
    }

    /// The next reason to reload.
    pub(super) async fn next(&mut self, signal: &mut Signal) -> Cause {
        let changed = async {
            match &mut self.watcher {
                Some(watcher) => watcher.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signal.recv() => Cause::Signal,
            () = changed => Cause::Change,
        }
    }

    /// Reads the file and has the edge follow it, or says why not. Dropped before its end, it changes nothing.
    pub(super) async fn reload(&mut self, edge: &mut Edge, cause: Cause) {
        let seen = digest(&self.file);
        if cause == Cause::Change && seen == self.seen {
            return;
        }
        self.seen = seen;
        let started = Instant::now();
        systemd::reloading();
        edge.renew_certificates().await;
        match self.follow(edge).await {
            Ok(changes) => {
                let changes = if changes.is_empty() { "none".to_owned() } else { changes.join(", ") };
                let took_ms = started.elapsed().as_millis() as u64;
                info!(file = %self.file.display(), changes, took_ms, "reloaded");
                self.watch(edge.config.watch);
            }
            Err(reason) => {
                error!(file = %self.file.display(), "reload refused; the configuration before stays");
                reason.lines().for_each(|line| error!("{line}"));
            }
        }
        systemd::ready(edge);
    }

    async fn follow(&self, edge: &mut Edge) -> Result<Vec<String>, String> {
        let (loaded, candidates) = load(self.file.clone()).await?;
        let changes = changes(edge, &loaded.config, &candidates);
        let media = loaded.config.media.clone();
        edge.apply(loaded.config.clone(), candidates).await.map_err(|error| error.render(&loaded, false))?;
        loaded.render_warnings(false).lines().for_each(|line| warn!("{line}"));
        for key in edge.media.needs_restart(&media) {
            warn!(key, "changed in the file, and stays as it was: it needs a restart");
        }
        Ok(changes)
    }

    fn watch(&mut self, wanted: bool) {
        if wanted == self.watcher.is_some() {
            return;
        }
        self.watcher = wanted.then(|| Watcher::new(&self.file)).and_then(|watcher| {
            let failed = |error: &notify::Error| {
                warn!(file = %self.file.display(), %error, "cannot watch the configuration; SIGHUP reloads it");
            };
            watcher.inspect_err(failed).ok()
        });
    }
}

/// Whether the file still says what was read from it.
fn says_the_same(config: &Config) -> bool {
    Config::load(&config.file).is_ok_and(|loaded| config.outline.changes(&loaded.config.outline).is_empty())
}

/// Everything that the file says, names looked up. In a thread that may block.
async fn load(file: PathBuf) -> Result<(Loaded, Vec<Candidate>), String> {
    let load = move || {
        let loaded = Config::load(&file).map_err(|error| error.render(false))?;
        let candidates = resolve::candidates(&loaded.config, &resolve::System);
        let candidates = candidates.map_err(|error| loaded.render_error(error.finding(), false))?;
        Ok((loaded, candidates))
    };
    tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// What the file says differently, and what the edge publishes differently, be it for other reasons.
fn changes(edge: &Edge, config: &Config, candidates: &[Candidate]) -> Vec<String> {
    let mut changes = edge.config.outline.changes(&config.outline);
    let published = |list: &[Candidate]| -> Vec<String> {
        let transport = |tcp| if tcp { "tcp" } else { "udp" };
        list.iter().map(|it| format!("candidate {} {}", transport(it.tcp), it.addr)).collect()
    };
    let (before, after) = (published(&edge.candidates), published(candidates));
    changes.extend(after.iter().filter(|it| !before.contains(it)).map(|it| format!("+{it}")));
    changes.extend(before.iter().filter(|it| !after.contains(it)).map(|it| format!("-{it}")));
    changes
}

/// Tells contents apart. `None`: the file cannot be read, which reading it will say.
fn digest(file: &Path) -> Option<u64> {
    let contents = std::fs::read(file).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&contents);
    Some(hasher.finish())
}
