//! Sees that the configuration file changed (`watch: true`), however that was done: written in place, renamed over, or by the
//! exchange of a link beside it, as Kubernetes does with a ConfigMap. Decides nothing; that the contents are the same as before is
//! found by who reads them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A file is looked at when nothing has happened to it for so long; an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// And after so many of them at the latest.
const MOST_STEPS: usize = 25;

/// Follows one file.
pub(super) struct Watcher {
    changes: mpsc::Receiver<()>,
    /// Something happened that [`Watcher::changed`] has not returned for.
    untold: bool,
    _watcher: RecommendedWatcher,
}

impl Watcher {
    pub(super) fn new(file: &Path) -> notify::Result<Watcher> {
        let (tell, changes) = mpsc::channel(1);
        // It is looked at once in any case: it may have changed just before.
        let _ = tell.try_send(());
        let places = places(file);
        let names: Vec<OsString> = places.iter().map(|(_, name)| name.clone()).collect();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &names)) {
                // One that waits already says the same.
                let _ = tell.try_send(());
            }
        })?;
        for (directory, _) in &places {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Watcher { changes, untold: false, _watcher: watcher })
    }

    /// Returns when something happened to the file and it is quiet again. Dropped before, it loses nothing: the next call
    /// returns for it.
    pub(super) async fn changed(&mut self) {
        if !self.untold && self.changes.recv().await.is_none() {
            return std::future::pending().await;
        }
        self.untold = true;
        for _ in 0..MOST_STEPS {
            if timeout(QUIET, self.changes.recv()).await.is_err() {
                break;
            }
        }
        self.untold = false;
    }
}

/// The directory and name of the file, and of what it is a link to.
fn places(file: &Path) -> Vec<(PathBuf, OsString)> {
    let place = |file: &Path| {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        Some((directory.unwrap_or(Path::new(".")).to_owned(), file.file_name()?.to_owned()))
    };
    let mut places: Vec<_> = place(file).into_iter().collect();
    let target = file.canonicalize().ok().and_then(|target| place(&target));
    places.extend(target.filter(|target| place(file).as_ref() != Some(target)));
    places
}

fn concerns(event: &Event, names: &[OsString]) -> bool {
    // Being read, by ourselves too, is no change.
    let is_reading =
        matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == "..data" || names.iter().any(|own| own == name))
    };
    !is_reading && (event.paths.is_empty() || event.paths.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_survives_a_wait_that_is_dropped() {
        let directory = std::env::temp_dir().join(format!("xrtc-watch-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("routes.yml");
        std::fs::write(&file, "a").unwrap();
        let mut watcher = Watcher::new(&file).unwrap();
        // As the edge's loop does when something else comes first, while the file is still being looked at.
        assert!(timeout(QUIET / 4, watcher.changed()).await.is_err());
        timeout(QUIET * 10, watcher.changed()).await.expect("told of what was there at the start");
        assert!(timeout(QUIET * 2, watcher.changed()).await.is_err(), "told once");
        std::fs::write(&file, "b").unwrap();
        assert!(timeout(QUIET / 2, watcher.changed()).await.is_err());
        timeout(QUIET * 10, watcher.changed()).await.expect("told of the change");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
