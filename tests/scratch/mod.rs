//! Directories for the files of tests, in the build folder. Two runs at a time do not meet in them.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a helper of tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// An empty directory for one test of this process. The next run removes it.
pub fn scratch(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    remove_left_behind(all);
    let directory = all.join(std::process::id().to_string()).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Directories are named after their process.
fn remove_left_behind(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let process = entry.file_name().to_string_lossy().parse::<u32>();
        if process.is_ok_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
