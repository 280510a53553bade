//! The `xrtc` command: flags, configuration, exit codes. It decides nothing else.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program that talks to the terminal"
)]

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use xrtc::config::report::Report;
use xrtc::config::resolve::{self, Candidate};
use xrtc::config::{Config, ConfigError, Loaded};
use xrtc::probe::{self, Options};
use xrtc::telemetry::{LOG_FILTER, start_logging};

/// The front door of WebRTC media servers: one UDP port in front of Janus and friends.
#[derive(Parser)]
#[command(name = "xrtc", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Subcommand)]
enum Command {
    /// Run the edge (also without a subcommand)
    Run(ConfigFile),
    /// Check a configuration and print what would listen and where it would forward
    Check(ConfigFile),
    /// Connect to a media server like a browser, and say what works and why the rest does not
    Probe(Box<Options>),
    /// Try it out: an echo, the edge in front of it and a page, with nothing else installed
    Demo(xrtc::demo::Options),
    /// Measure what forwarding costs on this machine
    Bench(xrtc::bench::Bench),
}

#[derive(Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "XRTC_CONFIG", hide_env_values = true, default_value = DEFAULT_FILE)]
    config: PathBuf,
}

const DEFAULT_FILE: &str = "routes.yml";
/// What the Debian package installs and its service runs with.
const INSTALLED_FILE: &str = "/etc/xrtc/routes.yml";

const EXAMPLES: &str = "\
Examples:
  xrtc demo                       see it work: open the page that it names
  xrtc                            run with ./routes.yml
  xrtc run -c /etc/xrtc/routes.yml
  xrtc check -c routes.yml        what would listen, where it would forward, what is wrong
  xrtc probe https://HOST/janus   does a call through it work, and if not, why
  XRTC_LOG=debug xrtc             say more; also per part, as in XRTC_LOG=info,xrtc::http=debug

Environment:
  XRTC_CONFIG   configuration file, where -c is not given
  XRTC_LOG      log filter, default info
  NO_COLOR      no colour in messages
Inside the file, ${NAME} and ${NAME:-default} stand for environment variables.

Exit codes: 0 fine, 1 bad configuration or failed start, 2 bad usage; those of probe: xrtc probe --help.";

fn main() -> ExitCode {
    // Bad usage ends in here, with exit code 2.
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Probe(options)) => return probed(&options),
        Some(Command::Check(file)) => check(&file.config),
        Some(Command::Demo(options)) => demo(&options),
        Some(Command::Bench(bench)) => xrtc::bench::run(&bench).map_err(anyhow::Error::new),
        Some(Command::Run(file)) => run(&file.config),
        None => run(&cli.file.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe is no reason to fail differently.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A probe's exit codes are its own, see docs/probe.md.
fn probed(options: &Options) -> ExitCode {
    // The probe's own lines say all; logs are for who asks for them.
    if std::env::var_os(LOG_FILTER).is_some()
        && let Err(error) = start_logging()
    {
        let _ = writeln!(std::io::stderr(), "{error}");
        return ExitCode::FAILURE;
    }
    match probe::main(options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> anyhow::Result<()> {
    let loaded = load(file)?;
    show_warnings(&loaded);
    let candidates = candidates(&loaded)?;
    // The message is whole; printing its sources behind it would say everything twice.
    xrtc::app::run(&loaded.config, &candidates)
        .map_err(|error| anyhow::anyhow!("{}", error.render(&loaded, colour(&std::io::stderr()))))
}

fn demo(options: &xrtc::demo::Options) -> anyhow::Result<()> {
    // As above.
    xrtc::demo::run(options).map_err(|error| anyhow::anyhow!("{error}"))
}

fn check(file: &Path) -> anyhow::Result<()> {
    let mut loaded = load(file)?;
    loaded.look_at_files(&xrtc::listener::tcp::usable_certificate);
    let candidates = candidates(&loaded)?;
    let mut text = Report::new(&loaded.config, &candidates).to_string();
    if !loaded.warnings.is_empty() {
        text.push('\n');
        text.push_str(&loaded.render_warnings(colour(&std::io::stdout())));
        text.push('\n');
    }
    text.push_str("ok\n");
    print(&text)
}

fn load(file: &Path) -> anyhow::Result<Loaded> {
    Config::load(file).map_err(|error| match &error {
        ConfigError::Unreadable { .. } if file == Path::new(DEFAULT_FILE) && !file.exists() => {
            anyhow::anyhow!(
                "no configuration: there is no {DEFAULT_FILE} in this directory\n  help: {}",
                whence()
            )
        }
        error => anyhow::anyhow!("{}", error.render(colour(&std::io::stderr()))),
    })
}

/// What to do where the current directory has no configuration.
fn whence() -> String {
    if Path::new(INSTALLED_FILE).exists() {
        return format!("that of the installed service is meant with `-c {INSTALLED_FILE}`");
    }
    "name a file with `xrtc -c FILE` or XRTC_CONFIG, or start from the routes.yml that comes with xrtc"
        .to_owned()
}

fn candidates(loaded: &Loaded) -> anyhow::Result<Vec<Candidate>> {
    resolve::candidates(&loaded.config, &resolve::System).map_err(|error| {
        anyhow::anyhow!("{}", loaded.render_error(error.finding(), colour(&std::io::stderr())))
    })
}

fn show_warnings(loaded: &Loaded) {
    if !loaded.warnings.is_empty() {
        let text = loaded.render_warnings(colour(&std::io::stderr()));
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        bail!("cannot write to standard output: {error}");
    }
    Ok(())
}

/// <https://no-color.org>
fn colour(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && stream.is_terminal()
}
