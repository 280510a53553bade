//! \[pure\] `${NAME}` and `${NAME:-default}` inside values; the environment is an argument. Keys are never expanded,
//! and what comes out of a variable is never read as YAML, so no variable can add a key.

use super::finding::{Finding, Position, Severity};
use super::raw::{Node, Value};

/// Expands every value below `node`. `source` is the file, for the exact column of what is wrong.
pub(super) fn expand(
    node: &mut Node,
    source: &str,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) {
    walk(node, "", source, env, findings);
}

fn walk(
    node: &mut Node,
    path: &str,
    source: &str,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) {
    match &mut node.value {
        Value::Null => {}
        Value::Text(text) if !text.contains("${") => {}
        Value::Text(text) => match expand_text(text, env) {
            Ok(expanded) => *text = expanded,
            Err(Problem { piece, message }) => {
                let at = place_of(source, node.at, &piece);
                findings.push(Finding::new(Severity::Error, Some(at), path, message));
            }
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{path}[{index}]"), source, env, findings);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                walk(&mut entry.node, &super::section::join(path, &entry.key), source, env, findings);
            }
        }
    }
}

struct Problem {
    /// The `${…` that is wrong, to find its place.
    piece: String,
    message: String,
}

fn expand_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, from) = rest.split_at(dollar);
        // `$${` is how a literal `${` is written.
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let Some(end) = from.find('}') else {
            out.push_str(from);
            return Ok(out);
        };
        out.push_str(&variable(&from[2..end], env)?);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of what stands between `${` and `}`.
fn variable(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let problem = |message| Problem { piece: format!("${{{inside}"), message };
    if !is_name(name) {
        let message = format!(
            "expected ${{NAME}} or ${{NAME:-default}}, found ${{{inside}}}; a literal ${{ is written $${{"
        );
        return Err(problem(message));
    }
    match (env(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(problem(format!(
            "expected the environment variable {name} to be set, or a default: ${{{name}:-default}}"
        ))),
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Where `piece` stands at or behind `from`; `from` itself where it is spelled differently in the source.
fn place_of(source: &str, from: Position, piece: &str) -> Position {
    for (number, line) in (from.line..).zip(source.lines().skip(from.line as usize - 1)) {
        let skip = if number == from.line { from.column as usize - 1 } else { 0 };
        let start = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
        if let Some(found) = line[start..].find(piece) {
            let column = line[..start + found].chars().count() + 1;
            return Position { line: number, column: u32::try_from(column).unwrap_or(from.column) };
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("janus.example.org".into()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: b # ${HOST}".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_literals_expand() {
        for (text, expected) in [
            ("http://${HOST}:8088", "http://janus.example.org:8088"),
            ("${HOST}${HOST}", "janus.example.orgjanus.example.org"),
            ("${NONE:-8088}", "8088"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${HOST:-x}", "janus.example.org"),
            ("${TRICKY}", "a: b # ${HOST}"),
            ("a$$b$c$", "a$$b$c$"),
            ("$${HOST}", "${HOST}"),
            ("open ${HOST", "open ${HOST"),
        ] {
            assert_eq!(expand_text(text, &env).ok().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_unset_name_is_an_error_with_its_place() {
        let source = "services:\n  a:\n    net: {addr: \"0.0.0.0:${PORT}\"}\n    é: [ab, 'x${1}']\n";
        let (mut root, _) = super::super::raw::parse(source).expect("reads");
        let mut findings = Vec::new();
        expand(&mut root, source, &env, &mut findings);
        let places: Vec<_> = findings.iter().map(|f| (f.path.as_str(), f.at)).collect();
        assert_eq!(
            places,
            [
                ("services.a.net.addr", Some(Position { line: 3, column: 26 })),
                ("services.a.é[1]", Some(Position { line: 4, column: 15 })),
            ]
        );
        assert!(findings[0].message.contains("PORT"), "{}", findings[0].message);
    }
}
