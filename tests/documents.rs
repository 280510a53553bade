//! The documents are true where a machine can tell: every `routes.yml` in them loads, and every link leads somewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use xrtc::config::{Config, ConfigError, Loaded, Surroundings};

#[test]
fn every_routes_yml_in_the_documents_loads_and_means_all_that_it_says() {
    let mut found = 0;
    for (file, text) in documents() {
        for snippet in snippets(&text, "yaml").filter(|snippet| is_configuration(snippet)) {
            found += 1;
            let loaded = load(&whole(&snippet));
            let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}\n{snippet}", file.display()));
            let said = loaded.render_warnings(false);
            let is_mistaken = ["unknown", "no effect", "not served"].iter().any(|word| said.contains(word));
            assert!(!is_mistaken, "{}:\n{said}", file.display());
        }
    }
    assert!(found >= 5, "only {found} snippets: does this test still find them?");
}

#[test]
fn the_configurations_of_the_packages_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let container = fs::read_to_string(root.join("docker/routes.yml")).unwrap();
    let cluster = fs::read_to_string(root.join("docker/kubernetes.yaml")).unwrap();
    let cluster = cluster.split("  routes.yml: |\n").nth(1).unwrap().split("---\n").next().unwrap();
    let cluster: String = cluster.lines().map(|line| format!("{}\n", line.get(4..).unwrap_or(""))).collect();
    for text in [container, cluster] {
        load(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for (file, text) in documents() {
        for target in links(&text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let found = fs::read_to_string(&path).or_else(|_| fs::read_dir(&path).map(|_| String::new()));
            if !found.is_ok_and(|text| anchor.is_empty() || anchors(&text).any(|known| known == anchor)) {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_debian_package_tells_this_version_and_every_command() {
    let debian = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/debian");
    let changelog = fs::read_to_string(debian.join("changelog")).unwrap();
    let version = concat!("xrtc (", env!("CARGO_PKG_VERSION"), "-");
    assert!(changelog.starts_with(version), "docker/debian/changelog does not begin with {version}");

    let help = std::process::Command::new(env!("CARGO_BIN_EXE_xrtc")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = listed.lines().filter_map(|line| line.split_whitespace().next());
    let page = fs::read_to_string(debian.join("xrtc.1")).unwrap();
    for command in commands.filter(|command| *command != "help") {
        assert!(
            page.contains(&format!(".TP\n.B {command}\n")),
            "docker/debian/xrtc.1 is silent about {command}"
        );
    }
}

/// With every environment variable set: to an address where its name says so, else to a fine secret.
fn load(text: &str) -> Result<Loaded, ConfigError> {
    let value =
        |name: &str| if name.ends_with("IP") { "203.0.113.7" } else { "a-secret-of-thirty-two-characters" };
    let env = |name: &str| Some(value(name).to_owned());
    Config::parse(Path::new("routes.yml"), text, Surroundings { env: &env, readable: &|_| true, cores: 1 })
}

/// All Markdown of the tree.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = below(root.to_owned()).chain(below(root.join("docs")));
    let markdown = all.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    markdown.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Fenced blocks of a language, without what they are indented by.
fn snippets<'t>(text: &'t str, language: &'t str) -> impl Iterator<Item = String> + 't {
    let blocks = text.split(&format!("```{language}\n")).skip(1).map(str::to_owned).collect::<Vec<_>>();
    blocks.into_iter().map(|block| block.split("```").next().unwrap().to_owned())
}

fn is_configuration(snippet: &str) -> bool {
    const TOP: [&str; 6] =
        ["services:", "media:", "limits:", "optimal:", "trusted_proxies:", "drain_timeout:"];
    let is_part = snippet.starts_with("  ") && snippet.contains("proto: ");
    is_part || snippet.lines().any(|line| TOP.iter().any(|key| line.starts_with(key)))
}

/// A snippet that shows a part is completed by what it stands in.
fn whole(snippet: &str) -> String {
    const AROUND: &str = "services:\n  janus_pool: {proto: upstream, servers: [\"http://127.0.0.1:8088\", \"ws://127.0.0.1:8188\"]}\n";
    match snippet.lines().any(|line| line.starts_with("services:")) {
        true => snippet.to_owned(),
        false if snippet.starts_with("  ") => format!("{AROUND}{snippet}"),
        false => format!("{snippet}{AROUND}  x: {{proto: http, net: {{addr: \":8080\"}}}}\n"),
    }
}

/// Targets of links that stay in the tree.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(' ')).map(str::to_owned).collect()
}

/// What headings are called in links.
fn anchors(text: &str) -> impl Iterator<Item = String> + '_ {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let name = line.trim_start_matches('#').trim().to_lowercase();
        name.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    })
}
