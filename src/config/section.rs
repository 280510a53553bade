//! \[pure\] Reads typed values out of the tree and collects what is wrong, so that one pass reports everything.

use super::finding::{Finding, Position, Severity};
use super::raw::{Entry, Node, Value};

/// Appends a key to a path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A map, with the path that leads to it.
#[derive(Clone)]
pub(super) struct Section<'n> {
    pub(super) path: String,
    /// Where its key stands.
    pub(super) at: Position,
    pub(super) node: &'n Node,
}

/// One value to be read.
#[derive(Clone)]
pub(super) struct Item<'n> {
    pub(super) path: String,
    pub(super) node: &'n Node,
}

/// Collects findings.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn error(&mut self, at: Position, path: &str, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, at, path, message)
    }

    pub(super) fn warn(&mut self, at: Position, path: &str, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, at, path, message)
    }

    fn push(
        &mut self,
        severity: Severity,
        at: Position,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Finding {
        let index = self.0.len();
        self.0.push(Finding::new(severity, Some(at), path, message));
        &mut self.0[index]
    }

    /// `expected …, found …`.
    pub(super) fn expected(&mut self, item: &Item<'_>, expected: &str) -> &mut Finding {
        let secret = is_secret(&item.path);
        let found = match item.node.text() {
            Some(_) if secret => "something else".to_owned(),
            Some(text) => quoted(text),
            None => item.node.kind().to_owned(),
        };
        let finding = self.error(item.node.at, &item.path, format!("expected {expected}, found {found}"));
        finding.show_line = !secret;
        finding
    }
}

/// Values below these keys are never shown.
pub(super) fn is_secret(path: &str) -> bool {
    [".auth.", "secret", "password", ".token", ".amqp"].iter().any(|part| path.contains(part))
}

/// In quotes, cut where it is long; a password in a URL is left out.
fn quoted(text: &str) -> String {
    let text = match text.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => {
            format!("{scheme}://…@{}", rest.rsplit('@').next().unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

impl<'n> Section<'n> {
    /// The whole file; a file that is no map is an error.
    pub(super) fn root(node: &'n Node, findings: &mut Findings) -> Option<Self> {
        let root = Section { path: String::new(), at: node.at, node };
        match &node.value {
            Value::Map(_) => Some(root),
            Value::Null => {
                findings.error(node.at, "", "expected a map with services, found an empty file");
                None
            }
            _ => {
                findings.error(node.at, "", format!("expected a map with services, found {}", node.kind()));
                None
            }
        }
    }

    /// The entries of this map as sections of their own, in file order. An entry that is no map is an error.
    pub(super) fn sections(&self, findings: &mut Findings) -> Vec<(&'n str, Section<'n>)> {
        let entries = self.node.entries().iter();
        entries.filter_map(|entry| Some((entry.key.as_str(), self.below(entry, findings)?))).collect()
    }

    fn below(&self, entry: &'n Entry, findings: &mut Findings) -> Option<Section<'n>> {
        let section = Section { path: join(&self.path, &entry.key), at: entry.at, node: &entry.node };
        match &entry.node.value {
            Value::Map(_) | Value::Null => Some(section),
            _ => {
                findings.expected(&Item { path: section.path, node: &entry.node }, "a map");
                None
            }
        }
    }

    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.node.entries().iter().find(|entry| entry.key == key)
    }

    /// The map below `key`, if it is there and not empty.
    pub(super) fn section(&self, findings: &mut Findings, key: &str) -> Option<Section<'n>> {
        let section = self.below(self.entry(key)?, findings)?;
        (section.node.value != Value::Null).then_some(section)
    }

    /// What stands below `key`, unless that is nothing.
    pub(super) fn item(&self, key: &str) -> Option<Item<'n>> {
        let entry = self.entry(key).filter(|entry| entry.node.value != Value::Null)?;
        Some(Item { path: join(&self.path, key), node: &entry.node })
    }

    /// Where `key` stands, the section itself if it does not.
    pub(super) fn place(&self, key: &str) -> Position {
        self.entry(key).map_or(self.at, |entry| entry.node.at)
    }

    /// The value of `key`. `None` where it is not given; also where it cannot be read, which is reported.
    pub(super) fn read<T>(
        &self,
        findings: &mut Findings,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.item(key)?.read(findings, expected, parse)
    }

    /// The value of `key`; it must be given.
    pub(super) fn require<T>(
        &self,
        findings: &mut Findings,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(item) = self.item(key) else {
            let path = join(&self.path, key);
            findings.error(
                self.place(key),
                &path,
                format!("expected {expected}, found nothing; the key is required"),
            );
            return None;
        };
        item.read(findings, expected, parse)
    }

    pub(super) fn flag(&self, findings: &mut Findings, key: &str, default: bool) -> bool {
        self.read(findings, key, "true or false", boolean).unwrap_or(default)
    }

    /// Whether `key` says no, or nothing. What cannot be read says neither, and has its error already.
    pub(super) fn is_off(&self, key: &str) -> bool {
        self.item(key).is_none_or(|item| item.node.text().and_then(boolean) == Some(false))
    }

    pub(super) fn text(&self, findings: &mut Findings, key: &str, expected: &str) -> Option<String> {
        self.read(findings, key, expected, |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// The values of a list; what is not readable is reported and left out.
    pub(super) fn list<T>(
        &self,
        findings: &mut Findings,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(findings, key, expected);
        items.iter().filter_map(|item| item.read(findings, expected, &parse)).collect()
    }

    /// The entries of a list, unread.
    pub(super) fn items(&self, findings: &mut Findings, key: &str, expected: &str) -> Vec<Item<'n>> {
        let Some(list) = self.item(key) else { return Vec::new() };
        let Value::List(items) = &list.node.value else {
            let expected = format!("a list, each entry {expected}");
            findings.expected(&list, &expected).help =
                Some("a list is written `[a, b]`, or as lines with `- `".into());
            return Vec::new();
        };
        let item = |(index, node)| Item { path: format!("{}[{index}]", list.path), node };
        items.iter().enumerate().map(item).collect()
    }
}

impl Item<'_> {
    pub(super) fn read<T>(
        &self,
        findings: &mut Findings,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.node.text().and_then(parse);
        if value.is_none() {
            findings.expected(self, expected);
        }
        value
    }
}

/// `true` or `false` as YAML 1.2 spells them.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number from 1 on.
pub(super) fn count(text: &str) -> Option<usize> {
    super::addr::number(text).filter(|count| *count > 0)
}
