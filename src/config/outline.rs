//! \[pure\] What a file says, key by key, and how another file differs: the line that a reload writes to the log.
//!
//! Keeps texts only to compare and to show them; secrets are kept as "set", with a hash that tells that they changed.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::raw::{Node, Value};
use super::section::{is_secret, join};

/// A file as typed, after the environment was put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    path: String,
    /// How many keys below it have lines too; they follow.
    below: usize,
    value: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Map,
    Shown(String),
    Secret(u64),
}

/// Longest value that is shown, in characters.
const MOST_SHOWN: usize = 60;
/// More changes than anybody reads in one line.
const MOST_CHANGES: usize = 20;

impl Outline {
    pub(super) fn of(root: &Node) -> Self {
        let mut lines = Vec::new();
        walk(root, "", &mut lines);
        Outline(lines)
    }

    /// What `newer` says differently: `+key` came, `-key` went, `~key old→new` changed. Of what came or went as a whole only
    /// the outermost key is named.
    pub fn changes(&self, newer: &Outline) -> Vec<String> {
        let mut changes = Vec::new();
        let (ours, theirs) = (by_path(&self.0), by_path(&newer.0));
        one_sided(&newer.0, &ours, |line| changes.push(format!("+{}", line.path)));
        one_sided(&self.0, &theirs, |line| changes.push(format!("-{}", line.path)));
        for new in &newer.0 {
            if let Some(old) = ours.get(new.path.as_str())
                && old.value != new.value
            {
                changes.push(changed(&new.path, &old.value, &new.value));
            }
        }
        let more = changes.len().saturating_sub(MOST_CHANGES);
        changes.truncate(MOST_CHANGES);
        if more > 0 {
            changes.push(format!("and {more} more"));
        }
        changes
    }
}

fn walk(node: &Node, path: &str, lines: &mut Vec<Line>) {
    for entry in node.entries() {
        let path = join(path, &entry.key);
        let at = lines.len();
        lines.push(Line { path: path.clone(), below: 0, value: text(&path, &entry.node) });
        walk(&entry.node, &path, lines);
        lines[at].below = lines.len() - at - 1;
    }
}

fn text(path: &str, node: &Node) -> Text {
    let shown = match &node.value {
        Value::Map(_) => return Text::Map,
        _ => write(node),
    };
    let has_password = shown.contains("://") && shown.contains('@');
    if is_secret(&format!("{path}.")) || has_password {
        let mut hasher = DefaultHasher::new();
        shown.hash(&mut hasher);
        return Text::Secret(hasher.finish());
    }
    Text::Shown(shown)
}

fn write(node: &Node) -> String {
    let many = |parts: Vec<String>, open, close| format!("{open}{}{close}", parts.join(", "));
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Text(text) => text.clone(),
        Value::List(items) => many(items.iter().map(write).collect(), '[', ']'),
        Value::Map(entries) => many(
            entries.iter().map(|entry| format!("{}: {}", entry.key, write(&entry.node))).collect(),
            '{',
            '}',
        ),
    }
}

/// Calls `tell` for the lines whose key `others` do not have, but not for those below such a line.
fn one_sided(lines: &[Line], others: &HashMap<&str, &Line>, mut tell: impl FnMut(&Line)) {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if !others.contains_key(line.path.as_str()) {
            tell(line);
            at += line.below;
        }
    }
}

fn by_path(lines: &[Line]) -> HashMap<&str, &Line> {
    lines.iter().map(|line| (line.path.as_str(), line)).collect()
}

fn changed(path: &str, old: &Text, new: &Text) -> String {
    let mut told = format!("~{path}");
    if let (Text::Shown(old), Text::Shown(new)) = (old, new) {
        let _ = write!(told, " {}→{}", shorten(old), shorten(new));
    }
    told
}

fn shorten(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    match text.char_indices().nth(MOST_SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Vec<String> {
        let outline = |text| Outline::of(&super::super::raw::parse(text).expect("reads").0);
        outline(old).changes(&outline(new))
    }

    #[test]
    fn what_came_went_and_changed_is_named_once() {
        let old = "limits: {sessions: 1000}\nservices: {a: {proto: http, http: {routes: {x: {paths: [/x]}}}}, b: {proto: udp}}";
        let new = "limits: {sessions: 2000}\nservices: {a: {proto: http, http: {routes: {x: {paths: [/x, /z]}, y: {paths: [/y]}}}}}";
        assert_eq!(
            changes(old, new),
            [
                "+services.a.http.routes.y",
                "-services.b",
                "~limits.sessions 1000→2000",
                "~services.a.http.routes.x.paths [/x]→[/x, /z]",
            ]
        );
        assert_eq!(changes(old, old), [""; 0]);
    }

    #[test]
    fn secrets_are_never_told() {
        for (old, new) in [
            ("a: {admin: {token: one}}", "a: {admin: {token: two}}"),
            ("a: {turn: {auth: {users: {john: one}}}}", "a: {turn: {auth: {users: {john: two}}}}"),
            ("a: {turn: {auth: {secrets: [one]}}}", "a: {turn: {auth: {secrets: [two]}}}"),
            ("a: {s: [\"http://u:one@h\"]}", "a: {s: [\"http://u:two@h\"]}"),
        ] {
            let told = changes(old, new);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(!told[0].contains("one") && !told[0].contains("two"), "{told:?}");
        }
    }

    #[test]
    fn a_line_stays_readable() {
        let many = |n: usize| (0..n).map(|i| format!("k{i}: 1\n")).collect::<String>();
        let told = changes("k0: 1", &many(100));
        assert_eq!((told.len(), told.last().unwrap().as_str()), (21, "and 79 more"));
        let long = format!("a: \"{}\"", "x".repeat(500));
        assert!(changes("a: 1", &long)[0].chars().count() < 100);
    }
}
