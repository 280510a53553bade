//! \[pure\] `routes.yml` as typed: a tree of keys, texts and lists in file order, each with its place.
//!
//! Everything that is scalar is text here, so `true` and `"true"`, `100` and `"100"` are the same from here on. The
//! one place that knows the YAML library. It never decides what a key means.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};
use serde_saphyr::Spanned;
use serde_saphyr::budget::{Budget, BudgetBreach};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::finding::{Finding, Position, Severity};
use super::section::join;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) node: Node,
}

impl Node {
    /// The value below `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Where the value stands that a path such as `services.a.net.addr[0]` names, or the nearest around it.
    pub(super) fn locate(&self, path: &str) -> Option<Position> {
        let into_entry = self.entries().iter().find_map(|entry| {
            // A name may have dots in it.
            let rest = path.strip_prefix(entry.key.as_str())?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            ends.then(|| entry.node.locate(rest.strip_prefix('.').unwrap_or(rest)).unwrap_or(entry.node.at))
        });
        let into_item = || {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = self.items().get(index.parse::<usize>().ok()?)?;
            Some(item.locate(rest.strip_prefix('.').unwrap_or(rest)).unwrap_or(item.at))
        };
        into_entry.or_else(into_item)
    }

    /// Keys and values, none where this is no map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Entries of a list, none where this is no list.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of thing this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Largest file, bytes. The largest sensible one, a thousand routes, has 200 KiB.
pub(super) const MAX_FILE: usize = 1024 * 1024;
/// Deepest nesting; the format itself needs 9 levels. Bounds the stack.
const MAX_DEPTH: usize = 32;
/// Keys, values, lists and maps together, aliases expanded: bounds time and memory (alias bombs).
const MAX_NODES: usize = 100_000;
/// Uses of an anchor.
const MAX_ALIASES: usize = 1_000;

/// Reads YAML. Keys that are given twice come along as findings, so that the rest of the file is looked at, too.
pub(super) fn parse(text: &str) -> Result<(Node, Vec<Finding>), Finding> {
    if text.len() > MAX_FILE {
        let message = format!("expected at most {MAX_FILE} bytes, found {}", text.len());
        return Err(Finding::new(Severity::Error, None, "", message));
    }
    let error = match tree(text, DuplicateKeyPolicy::Error) {
        Ok(tree) => return Ok((tree, Vec::new())),
        Err(error) => error,
    };
    if let serde_saphyr::Error::DuplicateMappingKey { .. } = error.without_snippet()
        && let Ok(tree) = tree(text, DuplicateKeyPolicy::LastWins)
    {
        let mut twice = Vec::new();
        find_twice(&tree, "", &mut twice);
        if !twice.is_empty() {
            return Ok((tree, twice));
        }
    }
    Err(syntax(&error, text))
}

fn tree(text: &str, duplicates: DuplicateKeyPolicy) -> Result<Node, serde_saphyr::Error> {
    let tree = serde_saphyr::from_str_with_options::<Typed>(text, options(duplicates))?;
    Ok(tree.into_node(text))
}

/// The library hands out each key that it lets pass, whatever wins; a key that is a number it sorts out itself.
fn find_twice(node: &Node, path: &str, found: &mut Vec<Finding>) {
    let mut first: HashMap<&str, Position> = HashMap::new();
    for entry in node.entries() {
        let path = join(path, &entry.key);
        if let Some(first) = first.get(entry.key.as_str()) {
            let message =
                format!("expected each key once, found it again; it stands in line {} already", first.line);
            found.push(Finding::new(Severity::Error, Some(entry.at), &*path, message));
        }
        first.entry(&entry.key).or_insert(entry.at);
        find_twice(&entry.node, &path, found);
    }
    for (index, item) in node.items().iter().enumerate() {
        find_twice(item, &format!("{path}[{index}]"), found);
    }
}

fn options(duplicates: DuplicateKeyPolicy) -> serde_saphyr::Options {
    let mut budget = Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.max_nodes = MAX_NODES;
    budget.max_events = 3 * MAX_NODES;
    budget.max_aliases = MAX_ALIASES;
    budget.max_documents = 1;
    budget.flow_nesting_limit = MAX_DEPTH;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = MAX_NODES;
    options.alias_limits.max_replay_stack_depth = 8;
    options.duplicate_keys = duplicates;
    options.strict_booleans = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    options.with_snippet = false;
    options
}

fn syntax(error: &serde_saphyr::Error, source: &str) -> Finding {
    let at = error.location().and_then(|at| position(&at));
    let message = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("expected each key once, found {key:?} again")
        }
        serde_saphyr::Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            "expected one YAML document, found another one".into()
        }
        serde_saphyr::Error::Budget { .. } | serde_saphyr::Error::AliasReplayLimitExceeded { .. } => {
            format!(
                "expected at most {MAX_DEPTH} levels and {MAX_NODES} values, aliases expanded, found more"
            )
        }
        other => {
            let text = other.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place is shown in front already.
            let text =
                text.lines().next().unwrap_or("unreadable").split(" at line ").next().unwrap_or_default();
            format!("expected YAML: {text}")
        }
    };
    let finding = Finding::new(Severity::Error, at, "", message);
    let line = at.and_then(|at| source.lines().nth(at.line as usize - 1)).unwrap_or_default();
    if line.contains("${") && line.contains(['{', '[']) {
        return finding.help("inside [ ] or { }, a value with ${…} must be quoted");
    }
    finding
}

fn position(at: &serde_saphyr::Location) -> Option<Position> {
    let line = u32::try_from(at.line()).ok().filter(|line| *line > 0)?;
    Some(Position { line, column: u32::try_from(at.column()).unwrap_or(1).max(1) })
}

/// A value as the YAML library hands it out, with its place.
struct Typed(Spanned<Kind>);

enum Kind {
    Null,
    Text(String),
    /// A plain scalar that YAML would make a number or truth value; its text is taken from the source.
    Plain(String),
    List(Vec<Typed>),
    Map(Vec<(Spanned<String>, Typed)>),
}

impl Typed {
    fn into_node(self, source: &str) -> Node {
        let Spanned { value, referenced, defined } = self.0;
        let at =
            position(&referenced).or_else(|| position(&defined)).unwrap_or(Position { line: 1, column: 1 });
        let value = match value {
            Kind::Null => Value::Null,
            Kind::Text(text) => Value::Text(text),
            Kind::Plain(parsed) => Value::Text(as_typed(source, &defined).unwrap_or(parsed)),
            Kind::List(items) => Value::List(items.into_iter().map(|item| item.into_node(source)).collect()),
            Kind::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let node = value.into_node(source);
                        let at = position(&key.referenced).unwrap_or(node.at);
                        Entry { key: key.value, at, node }
                    })
                    .collect(),
            ),
        };
        Node { at, value }
    }
}

/// The text of a plain scalar, so that `0644` or `1e3` is not changed on its way through a number.
fn as_typed(source: &str, at: &serde_saphyr::Location) -> Option<String> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let length = usize::try_from(at.span().byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Typed)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> de::Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Plain(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Kind, E> {
        Ok(Kind::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Kind::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        let (root, twice) = parse(text).expect("reads");
        assert_eq!(twice, []);
        root
    }

    fn scalar(text: &str) -> Value {
        read(text).value
    }

    #[test]
    fn quoted_and_typed_scalars_are_the_same_text() {
        for text in ["true", "\"true\"", "'true'"] {
            assert_eq!(scalar(text), Value::Text("true".into()), "{text}");
        }
        assert_eq!(scalar("100 # so many"), Value::Text("100".into()));
        assert_eq!(scalar("\"100\""), Value::Text("100".into()));
    }

    #[test]
    fn a_plain_scalar_keeps_its_spelling() {
        for text in
            ["0644", "1e3", "1.50", "0x1F", "yes", "on", "99999999999999999999999", ".inf", ".nan", "-0"]
        {
            assert_eq!(scalar(text), Value::Text(text.into()));
            assert_eq!(read(&format!("k: {text}  # x\n")).get("k").and_then(Node::text), Some(text));
        }
    }

    #[test]
    fn keys_and_values_know_their_place_and_keep_their_order() {
        let root = read("b: 1\na:\n  - x\n  - é: y\n");
        let keys: Vec<_> = root.entries().iter().map(|e| (e.key.as_str(), e.at.line, e.at.column)).collect();
        assert_eq!(keys, [("b", 1, 1), ("a", 2, 1)]);
        let Value::List(items) = &root.get("a").expect("is there").value else { panic!("a list") };
        assert_eq!(items[1].entries()[0].node.at, Position { line: 4, column: 8 });
    }

    #[test]
    fn an_address_that_starts_with_a_colon_needs_no_quotes() {
        assert_eq!(read("addr: :6443").get("addr").and_then(Node::text), Some(":6443"));
    }

    #[test]
    fn anchors_and_merges_work() {
        let root = read("a: &x {p: 1}\nb: *x\nc:\n  <<: *x\n  q: 2\n");
        assert_eq!(root.get("b").and_then(|b| b.get("p")).and_then(Node::text), Some("1"));
        assert_eq!(root.get("c").and_then(|b| b.get("p")).and_then(Node::text), Some("1"));
        assert_eq!(root.get("b").map(|b| b.at), Some(Position { line: 2, column: 4 }));
    }

    #[test]
    fn a_key_given_twice_is_refused_at_its_second_place() {
        let (root, twice) = parse("a: 1\nb: [{c: 2, c: 3}]\na: 4\n").expect("reads");
        let told: Vec<_> = twice.iter().map(|it| (it.path.as_str(), it.at)).collect();
        let at = |line, column| Some(Position { line, column });
        assert_eq!(told, [("b[0].c", at(2, 12)), ("a", at(3, 1))]);
        assert_eq!(root.get("a").and_then(Node::text), Some("1"), "the first is looked at");
        // What the library sorts out itself, it tells itself.
        let finding = parse("{1: a, 1: b}").expect_err("is refused");
        assert_eq!(finding.message, "expected each key once, found \"1\" again");
        assert!(parse("a: 1\na: 2\nb: [\n").is_err());
    }

    #[test]
    fn a_path_leads_to_its_place_and_a_broken_one_as_far_as_it_goes() {
        let root = read("s:\n  a.b: {net: {ips: [x, y]}}\n");
        for (path, place) in [
            ("s.a.b.net.ips[1]", Some((2, 24))),
            ("s.a.b.net.ips[7]", Some((2, 20))),
            ("s.a.b.net.port", Some((2, 14))),
            ("s.a", Some((2, 3))),
            ("t", None),
        ] {
            let place = place.map(|(line, column)| Position { line, column });
            assert_eq!(root.locate(path), place, "{path}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let uses = vec![format!("*a{}", level - 1); 9].join(", ");
            aliases.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
        }
        let deep_flow = "[".repeat(100_000);
        let deep_block: String = (0..500).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        let wide = "- x\n".repeat(200_000);
        for bomb in [aliases, deep_flow, deep_block, wide, "#".repeat(MAX_FILE + 1)] {
            assert!(parse(&bomb).is_err());
        }
    }
}
