//! The official conformance suite: through the gateway a server scores what it scores directly.

use crate::gateway::{Gateway, Runtime};
use crate::on_both_runtimes;
use crate::parts::Parts;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PUBLISHED: &str = "@modelcontextprotocol/conformance/dist/index.js";
const NEXT: &str = "conformance-alpha/dist/index.js";

/// A way to run the suite, and how many checks a correct server passes.
struct Suite {
    package: &'static str,
    arguments: &'static [&'static str],
    checks: usize,
}

const ALL: Suite = Suite { package: PUBLISHED, arguments: &["--suite", "all"], checks: 44 };
const R2025_06_18: Suite =
    Suite { package: NEXT, arguments: &["--suite", "all", "--spec-version", "2025-06-18"], checks: 56 };
const R2025_11_25: Suite = Suite { package: NEXT, arguments: &["--requirements", "2025-11-25"], checks: 84 };

#[test]
fn directly() {
    let Some(parts) = Parts::installed() else { return };
    let fixture = parts.fixture();
    for suite in [ALL, R2025_06_18, R2025_11_25] {
        let score = suite.run(&parts, &fixture.url);
        assert_eq!(score.passed(), suite.checks, "{:?}: {score:#?}", suite.arguments);
    }
}

on_both_runtimes![published_suite, revision_2025_06_18, revision_2025_11_25];

fn published_suite(runtime: Runtime) {
    scores_the_same(runtime, ALL);
}

fn revision_2025_06_18(runtime: Runtime) {
    scores_the_same(runtime, R2025_06_18);
}

fn revision_2025_11_25(runtime: Runtime) {
    scores_the_same(runtime, R2025_11_25);
}

fn scores_the_same(runtime: Runtime, suite: Suite) {
    let Some(parts) = Parts::installed() else { return };
    let fixture = parts.fixture();
    let Some(gateway) = Gateway::before(runtime, &[&fixture]) else { return };
    let direct = suite.run(&parts, &fixture.url);
    let through = suite.run(&parts, &gateway.url);
    assert_eq!(through.passed(), suite.checks, "{through:#?}");
    assert_eq!(through, direct);
}

/// What each check of each scenario came to, in the order of their names. A line each, to be read when they differ.
#[derive(Debug, PartialEq, Eq)]
struct Score(BTreeMap<String, Vec<String>>);

impl Suite {
    fn run(&self, parts: &Parts, url: &str) -> Score {
        let port = url.trim_end_matches("/mcp").rsplit(':').next().expect("the URL has a port");
        let name = format!("conformance-{port}-{}", self.checks);
        let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Left by an earlier run on the same port.
        let _ = fs::remove_dir_all(&results);
        let mut command = parts.package(self.package);
        command.args(["server", "--url", url, "-o"]).arg(&results).args(self.arguments);
        // A failed check fails the program too; which ones is in the results.
        let output = command.output().expect("the suite can be started");
        let score = Score::read(&results);
        assert!(!score.0.is_empty(), "the suite said {}", String::from_utf8_lossy(&output.stderr));
        score
    }
}

impl Score {
    /// Reads `<results>/<scenario>-<time>/checks.json` of all scenarios.
    fn read(results: &Path) -> Self {
        let scenarios = fs::read_dir(results).expect("the suite has written results");
        Self(scenarios.map(|entry| scenario(&entry.expect("a folder that can be listed").path())).collect())
    }

    fn passed(&self) -> usize {
        self.0.values().flatten().filter(|check| check.starts_with("SUCCESS")).count()
    }
}

fn scenario(folder: &Path) -> (String, Vec<String>) {
    let name = folder.file_name().and_then(|name| name.to_str()).expect("scenario names are text");
    // The time at its end, as in `server-ping-2026-11-22T08-41-19-211Z`.
    let name = name
        .rsplit_once('T')
        .and_then(|(name, _)| name.len().checked_sub(11).and_then(|end| name.get(..end)));
    let text = fs::read(folder.join("checks.json")).expect("every scenario has checks");
    let checks: Vec<Value> = serde_json::from_slice(&text).expect("checks are a list");
    let mut checks: Vec<_> = checks.iter().filter_map(verdict).collect();
    checks.sort_unstable();
    (name.expect("a scenario has a name and a time").to_owned(), checks)
}

/// `SUCCESS tools-list`, or `FAILURE` with the reason. What the suite only remarks is outside the score: where a target
/// hangs up without an answer it notes an empty stream, and before the gateway the error that says so.
fn verdict(check: &Value) -> Option<String> {
    let text = |key| check.get(key).and_then(Value::as_str).unwrap_or_default();
    let verdict = format!("{} {} {}", text("status"), text("id"), text("errorMessage"));
    matches!(text("status"), "SUCCESS" | "FAILURE").then(|| verdict.trim_end().to_owned())
}
