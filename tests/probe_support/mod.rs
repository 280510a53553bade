//! What a probe is pointed at: a Janus API with a real `str0m` endpoint behind it that can be told to misbehave in one way,
//! raw HTTP servers, and certificates.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod echo;
pub mod raw;
#[path = "../scratch/mod.rs"]
mod scratch;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What the program said, and how it ended.
pub struct Said {
    pub code: i32,
    pub json: Value,
}

impl Said {
    /// The cause that the verdict names.
    pub fn cause(&self) -> &str {
        self.json["verdict"]["code"].as_str().unwrap_or("none")
    }

    pub fn message(&self) -> &str {
        self.json["verdict"]["message"].as_str().unwrap_or("none")
    }

    pub fn fix(&self) -> &str {
        self.json["verdict"]["fix"].as_str().unwrap_or("none")
    }

    /// The attempt over `transport`.
    pub fn attempt(&self, transport: &str) -> &Value {
        let attempts = self.json["transports"].as_array().unwrap();
        attempts.iter().find(|attempt| attempt["transport"] == transport).unwrap_or(&Value::Null)
    }

    /// Fails unless the verdict is `cause` and the exit code `code`.
    #[track_caller]
    pub fn expect(self, cause: &str, code: i32) -> Said {
        assert_eq!((self.cause(), self.code), (cause, code), "{:#}", self.json);
        assert_eq!(self.json["exit_code"], code);
        assert_eq!(self.json["ok"], code == 0);
        self
    }
}

/// Runs `xrtc probe --json ARGS`.
pub async fn probe(args: &[&str]) -> Said {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || {
        let mut all = vec!["probe".to_owned(), "--json".to_owned()];
        all.extend(args);
        said(xrtc().args(all).output().unwrap())
    })
    .await
    .unwrap()
}

/// The same, as text.
pub async fn probe_text(args: &[&str]) -> (i32, String) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let output =
        tokio::task::spawn_blocking(move || xrtc().arg("probe").args(args).output().unwrap()).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

pub fn xrtc() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xrtc"));
    command.env_remove("XRTC_PROBE_TOKEN").env_remove("XRTC_PROBE_APISECRET").stdin(Stdio::null());
    command
}

pub fn said(output: Output) -> Said {
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    Said { code: output.status.code().expect("ended by itself"), json }
}
