//! Processes that are ours: started on a core, and gone when their owner is, also where the comparison is interrupted.

use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::bench::{BenchError, Doing, process};

/// A process that ends with this value.
pub(super) struct Child {
    child: std::process::Child,
}

impl Child {
    /// Starts it on one core; its threads inherit that.
    pub(super) fn spawn(mut command: Command, core: usize) -> Result<Child, BenchError> {
        let name = command.get_program().to_string_lossy().into_owned();
        // The core is a thread's, and this one keeps its own.
        let started = std::thread::scope(|scope| {
            let start = scope.spawn(|| {
                process::pin(core)?;
                command.spawn().doing(|| format!("cannot start {name}"))
            });
            start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        started.map(|child| Child { child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once.
    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once.
    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, interrupt: &Interrupt) -> Result<ExitStatus, BenchError> {
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            interrupt.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It holds nothing that it must put away; asking politely would wait for an edge's drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody pressed Ctrl-C, or asked us to end.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Interrupt, BenchError> {
        let told = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt(told.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing(|| "listening for signals".to_owned())?;
        let _inside = runtime.enter();
        let signals =
            signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
        let (mut int, mut term) = signals.doing(|| "listening for signals".to_owned())?;
        drop(_inside);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            });
            told.store(true, Ordering::Relaxed);
        });
        Ok(interrupt)
    }

    pub(super) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}
