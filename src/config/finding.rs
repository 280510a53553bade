//! \[pure\] What is wrong or noteworthy about a file, and how it is shown: where, which key, what was expected, what
//! was found. It never decides what is wrong, and never shows a line that holds a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::raw;

/// A place in the file, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// Something is ignored or will not do what it seems to say.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        }
    }
}

/// One thing to say about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where; `None` where the whole file is meant.
    pub at: Option<Position>,
    /// Path of the key, such as `services.http0.net.addr`; empty where none is known.
    pub path: String,
    /// What was expected and what was found, one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the source line may be shown; false where it may hold a secret.
    pub show_line: bool,
}

impl Finding {
    /// An error at a key whose place in the file is still to be found.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Finding::new(Severity::Error, None, path, message)
    }

    pub(super) fn new(
        severity: Severity,
        at: Option<Position>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Finding { severity, at, path: path.into(), message: message.into(), help: None, show_line: true }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `path: message (help)`, for logs.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// The file as text, for showing the lines that findings are about.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, as given on the command line.
    pub file: PathBuf,
    text: Arc<str>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Source { file: file.to_owned(), text: text.into() }
    }

    /// The place of the key or value that a path names.
    pub(super) fn locate(&self, path: &str) -> Option<Position> {
        raw::parse(&self.text).ok().and_then(|(root, _)| root.locate(path))
    }

    fn line(&self, number: u32) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)? as usize)
    }

    /// Whether the line, or a key that it stands under, names something secret.
    fn is_secret(&self, number: u32) -> bool {
        let lines: Vec<&str> = self.text.lines().take(number as usize).collect();
        let mut indent = usize::MAX;
        for line in lines.iter().rev().filter(|line| !line.trim().is_empty()) {
            let this = line.len() - line.trim_start_matches([' ', '-']).len();
            if this < indent {
                if names_a_secret(line) {
                    return true;
                }
                indent = this;
            }
        }
        false
    }

    /// Shows a finding the way compilers do: `file:line:column`, what it is about, the line, a caret.
    pub fn show(&self, finding: &Finding, colour: bool) -> String {
        let (on, bold, off) =
            if colour { (finding.severity.colour(), "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut out = format!("{bold}{}", self.file.display());
        if let Some(at) = finding.at {
            out.push_str(&format!(":{}:{}", at.line, at.column));
        }
        out.push_str(&format!(":{off} {on}{}:{off} ", finding.severity.word()));
        if !finding.path.is_empty() {
            out.push_str(&format!("{bold}{}:{off} ", finding.path));
        }
        out.push_str(&finding.message);
        if let Some(at) = finding.at.filter(|_| finding.show_line)
            && let Some(line) = self.line(at.line).filter(|_| !self.is_secret(at.line))
        {
            let before: String = line
                .chars()
                .take(at.column as usize - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let number = at.line.to_string();
            let margin = " ".repeat(number.len());
            let line: String =
                line.chars().take(LONGEST_LINE_SHOWN).filter(|c| *c == '\t' || !c.is_control()).collect();
            out.push_str(&format!("\n  {number} | {line}\n  {margin} | {before}{on}^{off}"));
        }
        if let Some(help) = &finding.help {
            out.push_str(&format!("\n  help: {help}"));
        }
        out
    }
}

fn names_a_secret(line: &str) -> bool {
    let url_with_user = line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    url_with_user || SECRET_WORDS.iter().any(|word| line.contains(word))
}

/// A line with one of these, and all that stands below it, is not shown.
const SECRET_WORDS: [&str; 5] = ["secret", "token", "passw", "users:", "amqp"];

/// A longer line is cut: it is not what a person reads.
const LONGEST_LINE_SHOWN: usize = 160;

/// Why a file cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: cannot read the configuration: {reason}", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It says something that cannot be meant; all of it that was found.
    #[error("{}", .0.render(false))]
    Invalid(Box<Invalid>),
}

/// Everything that was found in a file that cannot be used.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// The file.
    pub source: Source,
    /// Errors first, then the warnings that were found on the way.
    pub findings: Vec<Finding>,
}

impl Invalid {
    /// All findings, one after the other.
    pub fn render(&self, colour: bool) -> String {
        let shown: Vec<String> = self.findings.iter().map(|f| self.source.show(f, colour)).collect();
        shown.join("\n")
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Error)
    }
}

impl ConfigError {
    /// The text for a person; with colour where it goes to a terminal.
    pub fn render(&self, colour: bool) -> String {
        match self {
            ConfigError::Invalid(invalid) => invalid.render(colour),
            unreadable => unreadable.to_string(),
        }
    }
}
