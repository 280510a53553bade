//! \[pure\] What this version reads but does not serve yet. Using one of these says so once, in one line; when a
//! feature comes, its line goes.

use super::finding::{Finding, Severity};
use super::raw::{Entry, Node};
use super::section::{boolean, join};

/// One feature that is not there yet.
struct NotYet {
    /// Where it is asked for; `*` stands for any name.
    key: &'static str,
    /// Only in services with one of these `proto`s ([`SHARED`] counts as one); empty: in all.
    protos: &'static [&'static str],
    /// What asks for it.
    when: When,
    /// What happens instead.
    says: &'static str,
}

enum When {
    /// Its value is this.
    Is(&'static str),
}

/// `proto: tcp` with `enable_http: true`.
const SHARED: &str = "tcp with http";
/// Services that serve HTTP.
const HTTP: &[&str] = &["http", SHARED];

const NOT_YET: &[NotYet] = &[
    NotYet {
        key: "services.*.proto",
        protos: &[],
        when: When::Is("turn"),
        says: "TURN is not served yet; this service does not listen",
    },
    NotYet {
        key: "services.*.http.routes.*.signalling.protocol",
        protos: HTTP,
        when: When::Is("live"),
        says: "protocol live is not served yet; this route is left out",
    },
];

/// One notice for every use of something that is not served yet, in file order.
pub(super) fn check(root: &Node, findings: &mut Vec<Finding>) {
    walk(root, "", &[], None, findings);
}

fn walk(node: &Node, path: &str, keys: &[&str], proto: Option<&str>, findings: &mut Vec<Finding>) {
    for entry in node.entries() {
        let path = join(path, &entry.key);
        let keys: Vec<&str> = keys.iter().copied().chain([entry.key.as_str()]).collect();
        let proto = match keys.as_slice() {
            ["services", _] => kind(&entry.node),
            _ => proto,
        };
        let asked_for = |feature: &&NotYet| {
            matches(feature.key, &keys)
                && (feature.protos.is_empty() || proto.is_some_and(|proto| feature.protos.contains(&proto)))
                && feature.when.holds(entry)
        };
        for feature in NOT_YET.iter().filter(asked_for) {
            findings.push(Finding::new(Severity::Notice, Some(entry.at), path.as_str(), feature.says));
        }
        walk(&entry.node, &path, &keys, proto, findings);
    }
}

fn kind(service: &Node) -> Option<&str> {
    let http = service.get("enable_http").and_then(Node::text).and_then(boolean) == Some(true);
    service.get("proto").and_then(Node::text).map(|proto| if proto == "tcp" && http { SHARED } else { proto })
}

fn matches(pattern: &str, keys: &[&str]) -> bool {
    let segments = pattern.split('.');
    segments.clone().count() == keys.len()
        && segments.zip(keys).all(|(segment, key)| segment == "*" || segment == *key)
}

impl When {
    fn holds(&self, entry: &Entry) -> bool {
        let node = &entry.node;
        match self {
            When::Is(value) => node.text() == Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::known::KEYS;
    use super::*;

    #[test]
    fn every_line_is_about_a_known_key() {
        let known = |feature: &NotYet| {
            let depth = feature.key.split('.').count();
            KEYS.iter().any(|(key, _)| {
                let keys: Vec<&str> = key.split('.').take(depth).collect();
                keys.len() == depth && matches(feature.key, &keys)
            })
        };
        let unknown: Vec<_> =
            NOT_YET.iter().filter(|feature| !known(feature)).map(|feature| feature.key).collect();
        assert_eq!(unknown, [""; 0]);
    }
}
