//! The official conformance suite: through the gateway a server scores what it scores directly, and the gateway itself
//! is a client as good as the official ones.

use crate::gateway::{Gateway, PROGRAM, Runtime};
use crate::on_both_runtimes;
use crate::parts::{Era, Parts, Server};
use crate::process::free_port;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PUBLISHED: &str = "@modelcontextprotocol/conformance/dist/index.js";
const NEXT: &str = "conformance-alpha/dist/index.js";
/// How many milliseconds a scenario may take, where that can be said: only those that hang take so long.
const PATIENT: [&str; 2] = ["--timeout", "120000"];

/// A way to run the suite against a server.
struct Suite {
    name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
    /// What the server speaks that is asked directly.
    era: Era,
    /// How many checks a correct server passes, those of tasks aside, and how many of tasks.
    checks: usize,
    tasks: usize,
    /// What the fixture scored directly, found out once.
    direct: OnceLock<Score>,
}

impl Suite {
    const fn new(
        name: &'static str,
        package: &'static str,
        arguments: &'static [&'static str],
        era: Era,
        (checks, tasks): (usize, usize),
    ) -> Self {
        Self { name, package, arguments, era, checks, tasks, direct: OnceLock::new() }
    }
}

static ALL: Suite = Suite::new("published", PUBLISHED, &["--suite", "all"], Era::Legacy, (44, 0));
static R2025_03_26: Suite =
    Suite::new("2025-03-26", NEXT, &["--suite", "all", "--spec-version", "2025-03-26"], Era::Legacy, (3, 0));
static R2025_06_18: Suite =
    Suite::new("2025-06-18", NEXT, &["--suite", "all", "--spec-version", "2025-06-18"], Era::Legacy, (56, 0));
static R2025_11_25: Suite =
    Suite::new("2025-11-25", NEXT, &["--requirements", "2025-11-25"], Era::Legacy, (84, 0));
static R2026_07_28: Suite =
    Suite::new("2026-07-28", NEXT, &["--requirements", "2026-07-28"], Era::Modern, (152, 44));

/// The scenarios that need no authorization server, each with the revisions it has a meaning in.
const CLIENT_SCENARIOS: &[(&str, &[&str])] = &[
    ("initialize", &["2025-06-18", "2025-11-25"]),
    ("tools_call", &["2025-06-18", "2025-11-25", "2026-07-28"]),
    ("elicitation-sep1034-client-defaults", &["2025-11-25"]),
    ("sse-retry", &["2025-11-25"]),
    ("request-metadata", &["2026-07-28"]),
    ("sep-2322-client-request-state", &["2026-07-28"]),
    ("http-standard-headers", &["2026-07-28"]),
    ("http-custom-headers", &["2026-07-28"]),
    ("http-invalid-tool-headers", &["2026-07-28"]),
    ("json-schema-ref-no-deref", &["2026-07-28"]),
    ("json-schema-2020-12-preservation", &["2025-11-25", "2026-07-28"]),
];
const CLIENT_CHECKS: usize = 87;

#[test]
fn directly() {
    let Some(parts) = Parts::installed() else { return };
    for suite in [&ALL, &R2025_03_26, &R2025_06_18, &R2025_11_25, &R2026_07_28] {
        suite.direct(&parts);
    }
}

#[test]
fn clients_directly() {
    let Some(parts) = Parts::installed() else { return };
    client_side_directly(&parts);
}

on_both_runtimes![
    published_suite,
    revision_2025_03_26,
    revision_2025_06_18,
    revision_2025_11_25,
    revision_2026_07_28,
    both_eras_before_a_server_of_both,
    sessions_before_a_server_without,
    requests_alone_before_a_server_of_sessions,
    clients_of_the_scenarios_own_era,
    clients_of_the_other_era,
];

fn published_suite(runtime: Runtime) {
    scores_the_same(runtime, &[&ALL], Era::Legacy);
}

fn revision_2025_03_26(runtime: Runtime) {
    scores_the_same(runtime, &[&R2025_03_26], Era::Legacy);
}

fn revision_2025_06_18(runtime: Runtime) {
    scores_the_same(runtime, &[&R2025_06_18], Era::Legacy);
}

fn revision_2025_11_25(runtime: Runtime) {
    scores_the_same(runtime, &[&R2025_11_25], Era::Legacy);
}

fn revision_2026_07_28(runtime: Runtime) {
    scores_the_same(runtime, &[&R2026_07_28], Era::Modern);
}

fn both_eras_before_a_server_of_both(runtime: Runtime) {
    scores_the_same(runtime, &[&R2025_11_25, &R2026_07_28], Era::Dual);
}

fn sessions_before_a_server_without(runtime: Runtime) {
    scores_the_same(runtime, &[&R2025_11_25], Era::Modern);
}

fn requests_alone_before_a_server_of_sessions(runtime: Runtime) {
    scores_the_same(runtime, &[&R2026_07_28], Era::Legacy);
}

fn clients_of_the_scenarios_own_era(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(through) = client_side(&parts, Some(runtime), &[]) else { return };
    assert_eq!(&through, client_side_directly(&parts));
}

/// Clients of sessions before servers without, and the other way round.
fn clients_of_the_other_era(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    // What only clients of the scenario's own era can say or do.
    let own = ["initialize", "request-metadata", "sse-retry"];
    let Some(through) = client_side(&parts, Some(runtime), &own) else { return };
    // How often a check is made depends on how many requests there are, which differs.
    assert_eq!(through.once(), client_side_directly(&parts).without(&own).once());
}

/// That a server of this era, which may be another than the suite's, scores through the gateway as one of the suite's
/// era does directly.
fn scores_the_same(runtime: Runtime, suites: &[&Suite], era: Era) {
    let Some(parts) = Parts::installed() else { return };
    let fixture = parts.fixture(era);
    let Some(gateway) = Gateway::before(runtime, &[&fixture]) else { return };
    for suite in suites {
        let direct = suite.direct(&parts);
        let through = suite.run(&parts, &gateway.url);
        let own = suite.own(era);
        assert_eq!(through.without(own), direct.without(own), "{}", suite.name);
    }
}

impl Suite {
    /// The scenarios and checks, by the beginnings of their names, for which a server must be of the suite's own era.
    fn own(&self, server: Era) -> &'static [&'static str] {
        match (self.era, server) {
            // A server of sessions knows nothing of the tasks extension, what it asks has no key of its choice, and
            // the codes of 2026-07-28 mean nothing when it uses them.
            (Era::Modern, Era::Legacy) => &[
                "server-tasks-",
                "server-input-required-result-basic-elicitation",
                "server-input-required-result-ignore-extra-params",
                "sep-2575-missing-capability-http-400",
                "sep-2575-server-rejects-undeclared-capability",
            ],
            // One without hangs up on no call to be polled for the rest.
            (Era::Legacy, Era::Modern | Era::Dual) => &["server-server-sse-polling"],
            _ => &[],
        }
    }

    /// What the fixture scores without anything before it: all there is to be had.
    fn direct(&self, parts: &Parts) -> &Score {
        self.direct.get_or_init(|| {
            let fixture: Server = parts.fixture(self.era);
            let score = self.run(parts, &fixture.url);
            assert_eq!(score.without(&["server-tasks-"]).passed(), self.checks, "{}: {score:#?}", self.name);
            assert_eq!(score.passed(), self.checks + self.tasks, "{}: {score:#?}", self.name);
            score
        })
    }

    fn run(&self, parts: &Parts, url: &str) -> Score {
        let port = url.trim_end_matches("/mcp").rsplit(':').next().expect("the URL has a port");
        let results = results(&format!("conformance-{port}-{}", self.name));
        let mut command = parts.package(self.package);
        command.args(["server", "--url", url, "-o"]).arg(&results).args(self.arguments);
        if self.package == NEXT {
            command.args(PATIENT);
        }
        Score::of(&mut command, &results)
    }
}

fn client_side_directly(parts: &Parts) -> &'static Score {
    static DIRECT: OnceLock<Score> = OnceLock::new();
    DIRECT.get_or_init(|| {
        let score = client_side(parts, None, &[]).expect("nothing but the client is needed");
        assert_eq!(score.passed(), CLIENT_CHECKS, "{score:#?}");
        score
    })
}

/// Runs the scenarios for clients with our client, with the gateway between if a runtime is given. Where `own` names
/// scenarios, these are left out, and the client is of the other era than the scenario. `None`, said aloud, if this
/// machine lacks what the runtime needs.
fn client_side(parts: &Parts, through: Option<Runtime>, own: &[&str]) -> Option<Score> {
    if let Some(runtime) = through {
        // Says so if it can't run here.
        Gateway::before_urls(runtime, &["http://127.0.0.1:1/mcp"])?;
    }
    let mut score = Score(BTreeMap::new());
    for (scenario, revisions) in CLIENT_SCENARIOS.iter().filter(|(scenario, _)| !own.contains(scenario)) {
        for revision in *revisions {
            let mut command = parts.package(NEXT);
            let side =
                through.map_or_else(|| "directly".to_owned(), |runtime| format!("{runtime:?}-{}", own.len()));
            let results = results(&format!("conformance-client-{side}-{scenario}-{revision}"));
            command.args(["client", "--command", &parts.script_line("clients/conformance.mjs"), "-o"]);
            command.arg(&results).args(["--scenario", scenario, "--spec-version", revision]).args(PATIENT);
            if let Some(runtime) = through {
                command.env("GATEWAY", PROGRAM);
                command.env("RUNTIME", runtime.name());
                command.env("PORTS", format!("{},{}", free_port(), free_port()));
            }
            if !own.is_empty() {
                command.env("CLIENT", if *revision == "2026-07-28" { "legacy" } else { "modern" });
            }
            let checks = Score::of(&mut command, &results).0;
            score.0.extend(checks.into_iter().map(|(name, checks)| (format!("{name} {revision}"), checks)));
        }
    }
    Some(score)
}

/// An empty folder for what the suite writes.
fn results(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by an earlier run.
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// What each check of each scenario came to, in the order of their names. A line each, to be read when they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Score(BTreeMap<String, Vec<String>>);

impl Score {
    fn of(command: &mut Command, results: &Path) -> Self {
        // A failed check fails the program too; which ones is in the results.
        let output = command.output().expect("the suite can be started");
        let score = if results.exists() { Self::read(results) } else { Self(BTreeMap::new()) };
        assert!(!score.0.is_empty(), "the suite said {}", String::from_utf8_lossy(&output.stderr));
        score
    }

    /// Reads `<results>/<scenario>-<time>/checks.json` of all scenarios.
    fn read(results: &Path) -> Self {
        let scenarios = fs::read_dir(results).expect("the suite has written results");
        Self(scenarios.map(|entry| scenario(&entry.expect("a folder that can be listed").path())).collect())
    }

    fn passed(&self) -> usize {
        self.0.values().flatten().filter(|check| check.starts_with("SUCCESS")).count()
    }

    /// Every check once, however often it came to the same.
    fn once(mut self) -> Self {
        self.0.values_mut().for_each(Vec::dedup);
        self
    }

    /// The rest, without scenarios and checks whose names begin so.
    fn without(&self, beginnings: &[&str]) -> Self {
        let stays = |name: &str| !beginnings.iter().any(|beginning| name.starts_with(beginning));
        let mut rest = self.clone();
        rest.0.retain(|name, _| stays(name));
        for checks in rest.0.values_mut() {
            checks.retain(|check| check.split(' ').nth(1).is_none_or(stays));
        }
        rest
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
