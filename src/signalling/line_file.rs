//! \[shell\] Appends notices to a file, one JSON object per line, so that what is published can be seen without a broker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tracing::warn;

use super::counters::Counters;
use super::notice::rfc3339;
use super::protocol::Notice;

/// Lines that wait for the disk.
const QUEUE: usize = 10_000;

/// The way to the file; it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct LineFile {
    lines: mpsc::Sender<Vec<u8>>,
    counters: Arc<Counters>,
}

impl LineFile {
    pub(super) fn new(path: &Path, counters: Arc<Counters>) -> Self {
        let (lines, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(path.to_owned(), queue, counters.clone()));
        LineFile { lines, counters }
    }

    pub(super) fn tell(&self, notice: &Notice) {
        if self.lines.try_send(line(notice)).is_err() {
            self.counters.noticed(false);
            warn!("the disk is too slow: an event is dropped");
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.capacity() == 0
    }
}

/// The topic and the body are JSON already, and in a line of their own.
fn line(notice: &Notice) -> Vec<u8> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut line = format!(r#"{{"event":"{}","at":"{}","data":"#, notice.topic, rfc3339(unix)).into_bytes();
    line.extend_from_slice(&notice.body);
    line.extend_from_slice(b"}\n");
    line
}

/// Opened anew after each error, and when the file was moved away (log rotation is not our business beyond that).
async fn write_all(path: PathBuf, mut lines: mpsc::Receiver<Vec<u8>>, counters: Arc<Counters>) {
    let mut file = None;
    while let Some(line) = lines.recv().await {
        let written = write(&path, &mut file, &line).await;
        if let Err(error) = &written {
            warn!(file = %path.display(), %error, "an event cannot be written");
            file = None;
        }
        counters.noticed(written.is_ok());
    }
}

async fn write(path: &Path, file: &mut Option<File>, line: &[u8]) -> io::Result<()> {
    if file.is_none() {
        *file = Some(OpenOptions::new().create(true).append(true).open(path).await?);
    }
    let Some(open) = file else { return Ok(()) };
    open.write_all(line).await?;
    open.flush().await
}
