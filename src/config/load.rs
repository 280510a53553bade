//! From a file to a [`Config`]: read, parse, expand, mean. Touches the file system and the environment through
//! [`Surroundings`] alone.

use std::io::Read;
use std::path::Path;

use super::finding::{ConfigError, Finding, Invalid, Severity, Source};
use super::section::Findings;
use super::{Config, Service, TlsFiles, env, known, raw, services};

/// A usable configuration, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notices, in file order.
    pub warnings: Vec<Finding>,
    /// The file, for showing them.
    pub source: Source,
}

impl Loaded {
    /// Warnings and notices as a person reads them.
    pub fn render_warnings(&self, colour: bool) -> String {
        let shown: Vec<String> =
            self.warnings.iter().map(|warning| self.source.show(warning, colour)).collect();
        shown.join("\n")
    }
}

/// What only shows where the file is used.
impl Loaded {
    /// An error that shows when the configuration is put to use, with its place.
    pub fn render_error(&self, error: Finding, colour: bool) -> String {
        let at = error.at.or_else(|| self.source.locate(&error.path));
        self.source.show(&Finding { at, ..error }, colour)
    }

    /// Adds warnings of files without which less is served than the file says. The edge starts without them, and takes
    /// them once they are there.
    pub fn look_at_files(&mut self, certificate: &dyn Fn(&TlsFiles) -> Result<(), String>) {
        for service in &self.config.services {
            if let Some(Err(reason)) = service.tls.as_ref().map(certificate) {
                let path = format!("services.{}.net.tls_crt_file", service.name);
                let message = format!("not usable, so TLS connections will fail: {reason}");
                self.warnings.push(Finding::new(Severity::Warning, self.source.locate(&path), path, message));
            }
            let root = service.http().and_then(|http| http.root.as_deref());
            if let Some(root) = root.filter(|root| !root.is_dir()) {
                let path = format!("services.{}.http.root", service.name);
                let message =
                    format!("no such directory, so there are no files: {:?}", root.display().to_string());
                self.warnings.push(Finding::new(Severity::Warning, self.source.locate(&path), path, message));
            }
        }
        self.warnings.sort_by_key(|warning| warning.at);
    }
}

/// What a file may depend on besides its own text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a file can be read.
    pub readable: &'a dyn Fn(&Path) -> bool,
    /// Processor cores, the default number of workers.
    pub cores: usize,
}

impl Config {
    /// Loads a file as the program does: real environment, real files.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let text = read(path)?;
        let surroundings = Surroundings {
            env: &|name| std::env::var(name).ok(),
            readable: &|file| std::fs::File::open(file).is_ok(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        };
        Config::parse(path, &text, surroundings)
    }

    /// Loads a text as if it were in a file named `routes.yml`, for tests: no environment, one core, every file there.
    pub fn from_text(text: &str) -> Result<Loaded, ConfigError> {
        let surroundings = Surroundings { env: &|_| None, readable: &|_| true, cores: 1 };
        Config::parse(Path::new("routes.yml"), text, surroundings)
    }

    /// What `text` means. `path` is how the file is named in messages.
    pub fn parse(path: &Path, text: &str, surroundings: Surroundings<'_>) -> Result<Loaded, ConfigError> {
        let source = Source::new(path, text);
        let (config, mut findings) = mean(path, text, surroundings);
        findings.sort_by_key(|finding| (finding.severity != Severity::Error, finding.at));
        findings.dedup();
        shorten(&mut findings);
        let fails = findings.iter().any(|finding| finding.severity == Severity::Error);
        match config.filter(|_| !fails) {
            Some(config) => Ok(Loaded { config, warnings: findings, source }),
            None => Err(ConfigError::Invalid(Box::new(Invalid { source, findings }))),
        }
    }
}

/// A person reads the first hundred; a file with more is not a configuration.
const MOST_FINDINGS: usize = 100;

fn shorten(findings: &mut Vec<Finding>) {
    let more = findings.len().saturating_sub(MOST_FINDINGS);
    if let (true, Some(last)) = (more > 0, findings.get(MOST_FINDINGS)) {
        let rest = Finding::new(last.severity, None, "", format!("and {more} more"));
        findings.truncate(MOST_FINDINGS);
        findings.push(rest);
    }
}

fn mean(path: &Path, text: &str, surroundings: Surroundings<'_>) -> (Option<Config>, Vec<Finding>) {
    let (mut root, twice) = match raw::parse(text) {
        Ok(parsed) => parsed,
        Err(finding) => return (None, vec![finding]),
    };
    let mut findings = Findings::default();
    env::expand(&mut root, text, surroundings.env, &mut findings.0);
    // A value that could not be expanded would only cause follow-up errors; the rest of the file is still looked at.
    let unexpanded: Vec<_> = findings.0.iter().map(|finding| finding.path.clone()).collect();
    findings.0.extend(twice);
    known::check(&root, &mut findings.0);
    let before = findings.0.len();
    let config = services::config(path, &root, surroundings.cores, &mut findings);
    let mut index = 0;
    findings.0.retain(|finding| {
        index += 1;
        index <= before || !unexpanded.contains(&finding.path)
    });
    if let Some(config) = &config {
        check_files(config, &root, surroundings.readable, &mut findings);
    }
    (config, findings.0)
}

/// Files without which the program would do something else than the file says (xrtc.md §5.3).
fn check_files(config: &Config, root: &raw::Node, readable: &dyn Fn(&Path) -> bool, findings: &mut Findings) {
    for service in &config.services {
        check_ca_file(service, root, readable, findings);
        let Some(http) = service.http().filter(|http| http.optimal == super::Optimal::GeoIp) else {
            continue;
        };
        let Some(file) = http.geoip_db.as_deref().filter(|file| !readable(file)) else { continue };
        let node = root.get("services").and_then(|services| services.get(&service.name));
        let at = [node.and_then(|n| n.get("http")), node, Some(root)]
            .into_iter()
            .flatten()
            .find_map(|node| node.get("geoip_db"))
            .map_or(root.at, |node| node.at);
        let path = format!("services.{}.geoip_db", service.name);
        findings.error(
            at,
            &path,
            format!("expected a readable GeoLite2-City database, found {:?}", file.display().to_string()),
        );
    }
}

fn check_ca_file(
    service: &Service,
    root: &raw::Node,
    readable: &dyn Fn(&Path) -> bool,
    findings: &mut Findings,
) {
    let file = service.http().and_then(|http| http.upstream.ca_file.as_deref());
    let Some(file) = file.filter(|file| !readable(file)) else { return };
    let node = root.get("services").and_then(|services| services.get(&service.name));
    let node = node.and_then(|node| node.get("http")).and_then(|http| http.get("upstream_ca_file"));
    findings.error(
        node.map_or(root.at, |node| node.at),
        &format!("services.{}.http.upstream_ca_file", service.name),
        format!("expected a readable PEM file, found {:?}", file.display().to_string()),
    );
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { file: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the parser sees that it is too much.
    let limit = raw::MAX_FILE as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        unreadable(format!(
            "expected UTF-8, found something else at byte {}",
            error.utf8_error().valid_up_to()
        ))
    })
}

/// Every key of the format, `<…>` for names; `docs/routes.md` describes them.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    known::KEYS.iter().map(|(key, _)| *key)
}

/// Body of a fuzz target: whatever the bytes are, loading them returns, and what it says can be shown.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::from_text(&text) {
        Ok(loaded) => {
            let _ = loaded.render_warnings(true);
            let _ = super::report::Report::new(&loaded.config, &[]).to_string();
        }
        Err(error) => {
            let _ = error.render(true);
        }
    }
}
