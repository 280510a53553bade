//! Keeps the direction between the modules, and the pure ones pure.
//!
//! It reads the sources as tokens: comments, literals, `#[cfg(test)]` items and fuzz bodies are left out (both call
//! the module from outside, with a time and randomness of their own); `crate::…`, `super::…` and `xrtc::…` are followed
//! to the module they name, groups included.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module uses what stands in a line above its own (which is a tier below it), never its neighbours.
const TIERS: &[&[&str]] = &[
    &["telemetry", "hostile"],
    &["budget", "tls_client"],
    &["classify", "stun", "sdp", "config", "json_edit", "ws_frame"],
    &["auth"],
    &["session"],
    &["turn"],
    &["route", "dialect", "signalling"],
    &["forward"],
    &["listener", "http", "admin"],
    &["app"],
    &["peer"],
    &["bench", "demo", "probe"],
    &["main"],
];

/// Arrows that the tiers do not allow, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("classify", "stun", "what is STUN is said once, by the codec, and classify asks it")];

/// Modules whose time, randomness, addresses and peers are arguments.
const PURE: &[&str] = &[
    "classify",
    "stun",
    "sdp",
    "budget",
    "json_edit",
    "ws_frame",
    "session",
    "turn",
    "forward",
    "dialect",
    "route",
    "signalling::protocol",
    "signalling::webrtc_server",
    "signalling::blueprints",
    "signalling::gst",
    "signalling::webrtcsink",
    "signalling::live",
    "signalling::notice",
    "signalling::query",
    "signalling::token",
];

/// What a pure module never names. `::` stands between the parts of a path.
const IMPURE: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "tokio",
    "mio",
    "socket2",
    "Mutex",
    "RwLock",
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "thread::sleep",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "OsRng",
];

#[test]
fn every_module_uses_only_what_stands_below_it() {
    let broken: Vec<String> = sources().iter().flat_map(broken_arrows).collect();
    assert!(broken.is_empty(), "arrows that point up or sideways:\n{}", broken.join("\n"));
}

#[test]
fn pure_modules_name_no_socket_task_clock_lock_or_random_source() {
    let broken: Vec<String> = sources().iter().flat_map(impurities).collect();
    assert!(broken.is_empty(), "pure modules that are not:\n{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_decides() {
    let silent: Vec<_> = rust_files(&src())
        .into_iter()
        .filter(|path| !is_test(path) && !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no //! on the first line: {silent:?}");
}

#[test]
fn every_exception_is_used_and_every_tier_names_its_module_once() {
    let sources = sources();
    for (from, to, _) in EXCEPTIONS {
        let used = sources.iter().any(|file| file.module() == *from && file.names().contains(*to));
        assert!(used, "{from} no longer uses {to}: take the exception out");
    }
    let all: Vec<_> = TIERS.concat();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "a module stands in two tiers");
}

/// A source file without what does not count.
struct Source {
    /// `["listener", "worker"]` for `src/listener/worker.rs`.
    path: Vec<String>,
    tokens: Vec<String>,
}

impl Source {
    fn new(path: &[&str], text: &str) -> Source {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Source { path, tokens: without_tests(&tokens(text)) }
    }

    fn module(&self) -> &str {
        &self.path[0]
    }

    /// Top-level modules that this file names.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut inner: Vec<usize> = Vec::new();
        let mut depth = 0;
        for (at, token) in self.tokens.iter().enumerate() {
            match token.as_str() {
                "{" => {
                    depth += 1;
                    let named = at >= 2 && self.tokens[at - 2] == "mod";
                    inner.extend(named.then_some(depth));
                }
                "}" => {
                    inner.pop_if(|opened| *opened == depth);
                    depth -= 1;
                }
                "crate" | "xrtc" if self.follows_path(at) => names.extend(self.heads(at + 2)),
                "super" if at == 0 || self.tokens[at - 1] != "::" => {
                    let supers = self.tokens[at..].chunks(2).take_while(|pair| pair[0] == "super").count();
                    if supers == self.path.len() + inner.len() {
                        names.extend(self.heads(at + 2 * supers));
                    }
                }
                _ => {}
            }
        }
        names.remove(self.module());
        names
    }

    fn follows_path(&self, at: usize) -> bool {
        let starts = at == 0 || self.tokens[at - 1] != "::";
        starts && self.tokens.get(at + 1).is_some_and(|next| next == "::")
    }

    /// First names of the path, or of each path of the group, that starts at `at`.
    fn heads(&self, at: usize) -> Vec<String> {
        match self.tokens.get(at).map(String::as_str) {
            Some("{") => self.heads_of_group(at + 1),
            Some(head) => vec![head.to_owned()],
            None => Vec::new(),
        }
    }

    fn heads_of_group(&self, start: usize) -> Vec<String> {
        let mut heads = Vec::new();
        let mut depth = 0;
        let mut expected = true;
        for token in &self.tokens[start..] {
            match token.as_str() {
                "{" => depth += 1,
                "}" if depth == 0 => break,
                "}" => depth -= 1,
                "," if depth == 0 => expected = true,
                name if expected && depth == 0 => {
                    heads.push(name.to_owned());
                    expected = false;
                }
                _ => {}
            }
        }
        heads
    }
}

fn tier(module: &str) -> Option<usize> {
    TIERS.iter().position(|tier| tier.contains(&module))
}

fn broken_arrows(file: &Source) -> Vec<String> {
    let from = file.module();
    let Some(from_tier) = tier(from) else {
        return vec![format!("  {from} has no tier: give it one in tests/architecture.rs")];
    };
    let allowed = |to: &str| {
        let excepted = EXCEPTIONS.iter().any(|(a, b, _)| (*a, *b) == (from, to));
        excepted || tier(to).is_none_or(|to_tier| to_tier < from_tier)
    };
    let names = file.names();
    let broken = names.iter().filter(|to| !allowed(to));
    broken.map(|to| format!("  {} -> {to}", file.path.join("::"))).collect()
}

fn impurities(file: &Source) -> Vec<String> {
    let path = file.path.join("::");
    let is_in =
        |pure: &&str| path.strip_prefix(*pure).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if !PURE.iter().any(is_in) {
        return Vec::new();
    }
    let found = IMPURE.iter().filter(|name| names_path(&file.tokens, name));
    found.map(|name| format!("  {} names {name}", file.path.join("::"))).collect()
}

fn names_path(tokens: &[String], path: &str) -> bool {
    let mut wanted = Vec::new();
    for part in path.split("::") {
        wanted.extend([part, "::"]);
    }
    wanted.pop();
    tokens.windows(wanted.len()).any(|window| window == wanted.as_slice())
}

fn sources() -> Vec<Source> {
    let root = src();
    let files = rust_files(&root);
    files.iter().filter_map(|path| read(&root, path)).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `None` for `lib.rs`, which names all modules, and for files of tests.
fn read(root: &Path, path: &Path) -> Option<Source> {
    let inside = path.strip_prefix(root).unwrap().with_extension("");
    let mut parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    if is_test(path) || parts == ["lib"] {
        return None;
    }
    Some(Source::new(&parts, &fs::read_to_string(path).unwrap()))
}

/// `tests.rs`, `…_tests.rs` and what lies in a directory of these names.
fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(src()).unwrap().with_extension("");
    path.iter().any(|part| part.to_str().is_some_and(|part| part == "tests" || part.ends_with("_tests")))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Identifiers, `::` and single signs; no comments, no literals, no white space.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let size = skipped(rest).unwrap_or_else(|| {
            let size = token_size(rest, first);
            tokens.push(rest[..size].to_owned());
            size
        });
        rest = &rest[size..];
    }
    tokens
}

/// Length of the white space, comment or literal at the start of `rest`.
fn skipped(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    for prefix in ["br", "r", "b", "c", ""] {
        let Some(body) = rest.strip_prefix(prefix) else { continue };
        if prefix.ends_with('r') {
            let hashes = body.len() - body.trim_start_matches('#').len();
            if body[hashes..].starts_with('"') {
                let close = format!("\"{}", "#".repeat(hashes));
                let start = prefix.len() + hashes + 1;
                return Some(start + rest[start..].find(&close)? + close.len());
            }
        } else if body.starts_with('"') {
            return Some(prefix.len() + quoted(body, '"')?);
        } else if body.starts_with('\'') && !is_lifetime(body) {
            return Some(prefix.len() + quoted(body, '\'')?);
        }
    }
    None
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of the literal with its quotes.
fn quoted(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, sign) in body.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            sign if sign == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `'a` and no `'a'`.
fn is_lifetime(body: &str) -> bool {
    let mut signs = body.chars().skip(1);
    let (first, second) = (signs.next(), signs.next());
    first.is_some_and(|sign| sign.is_alphabetic() || sign == '_') && second != Some('\'')
}

fn token_size(rest: &str, first: char) -> usize {
    let in_name = |sign: char| sign.is_alphanumeric() || sign == '_';
    if in_name(first) {
        return rest.find(|sign| !in_name(sign)).unwrap_or(rest.len());
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// Leaves out every item behind `#[cfg(test)]`, and every `fn fuzz`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().zip(MARK).filter(|(token, mark)| token == mark).count() == MARK.len() {
            at += MARK.len();
            at += item_size(&tokens[at..]);
        } else if tokens[at..].starts_with(&["fn".to_owned(), "fuzz".to_owned()]) {
            at += item_size(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Tokens up to the `;` or closing brace that ends an item.
fn item_size(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Each rule must be able to fail.
mod the_rules_bite {
    use super::*;

    fn arrows(path: &[&str], text: &str) -> Vec<String> {
        broken_arrows(&Source::new(path, text))
    }

    #[test]
    fn an_arrow_up_is_found_in_every_way_to_write_it() {
        for text in [
            "use crate::forward::Forwarder;",
            "use crate::{stun, forward::Forwarder};",
            "use crate::{stun::{Key, Message}, forward};",
            "fn f() { crate::forward::run() }",
            "fn f<'a>(x: &'a u8) { let c = '\"'; crate::forward::run() }",
            "use super::super::forward;",
            "mod inner { use super::super::super::forward; }",
            "fn f() { xrtc::forward::run() }",
        ] {
            assert_eq!(arrows(&["session", "table"], text), ["  session::table -> forward"], "{text}");
        }
        assert_eq!(arrows(&["session"], "use super::forward::Verdict;"), ["  session -> forward"]);
    }

    #[test]
    fn a_neighbour_is_found() {
        assert_eq!(arrows(&["http", "server"], "use crate::listener::Socket;").len(), 1);
        assert_eq!(arrows(&["listener"], "use crate::http::Server;").len(), 1);
        assert_eq!(arrows(&["dialect", "janus"], "use crate::route::Table;").len(), 1);
    }

    #[test]
    fn a_module_without_a_tier_is_found() {
        assert_eq!(arrows(&["helpers"], "").len(), 1);
    }

    #[test]
    fn what_stands_below_or_does_not_count_is_allowed() {
        for text in [
            "use crate::{classify::Kind, stun, telemetry};",
            "use crate::session::table::Row;",
            "use super::forward;",
            "mod inner { use super::super::forward; }",
            "use std::sync::Arc; // crate::forward",
            "/* crate::forward /* nested */ crate::forward */",
            "const A: &str = \"crate::forward\"; const B: &str = r#\"\" crate::forward \"#;",
            "#[cfg(test)] mod tests { use crate::forward::Forwarder; }",
            "#[cfg(test)] use crate::forward::Forwarder; struct Row;",
            "fn f() { other::crate_like::forward() }",
        ] {
            assert_eq!(arrows(&["session", "table"], text), [""; 0], "{text}");
        }
    }

    #[test]
    fn the_item_behind_a_test_counts_again() {
        let text = "#[cfg(test)] mod tests { fn f() {} } use crate::forward;";
        assert_eq!(arrows(&["session"], text), ["  session -> forward"]);
    }

    #[test]
    fn every_impure_name_is_found() {
        for name in IMPURE {
            let file = Source::new(&["forward"], &format!("fn f() {{ let x = std::{name}(); }}"));
            assert_eq!(impurities(&file), [format!("  forward names {name}")]);
        }
    }

    #[test]
    fn a_shell_may_be_impure_and_a_pure_module_may_take_an_instant() {
        assert!(impurities(&Source::new(&["listener"], "std::time::Instant::now()")).is_empty());
        assert!(impurities(&Source::new(&["forward"], "fn f(now: std::time::Instant) {}")).is_empty());
        for outside in [
            "#[cfg(test)] mod tests { fn f() { Instant::now(); } }",
            "pub fn fuzz(data: &[u8]) { let now = [Instant::now()]; }",
        ] {
            assert!(impurities(&Source::new(&["forward"], outside)).is_empty());
            let followed = format!("{outside} fn f() {{ Instant::now(); }}");
            assert_eq!(impurities(&Source::new(&["forward"], &followed)).len(), 1);
        }
    }
}
