//! The arrows between the crates, and what the core must not know.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Who may depend on whom, and no others.
const ARROWS: [(&str, &[&str]); 9] = [
    ("routing", &[]),
    ("mcp-proto", &["routing"]),
    ("runtime", &["mcp-proto", "routing"]),
    ("runtime-tokio", &["runtime"]),
    ("runtime-glommio", &["runtime"]),
    ("k8s-adapter", &["fake-kubernetes", "routing"]),
    ("fake-kubernetes", &[]),
    (
        "mcp-gateway",
        &[
            "fake-kubernetes",
            "k8s-adapter",
            "mcp-proto",
            "routing",
            "runtime",
            "runtime-glommio",
            "runtime-tokio",
        ],
    ),
    (
        "benches",
        &[
            "fake-kubernetes",
            "k8s-adapter",
            "mcp-gateway",
            "mcp-proto",
            "routing",
            "runtime",
            "runtime-glommio",
            "runtime-tokio",
        ],
    ),
];

/// The crates without I/O, clock, threads and randomness of their own.
const CORE: [&str; 2] = ["routing", "mcp-proto"];

/// What does I/O, waits, or asks the machine for randomness, whoever brings it along.
const WORLDLY: [&str; 18] = [
    "async-channel",
    "async-std",
    "chrono",
    "crossbeam-channel",
    "fastrand",
    "flume",
    "futures-util",
    "getrandom",
    "glommio",
    "hyper",
    "io-uring",
    "mio",
    "parking_lot",
    "rand",
    "smol",
    "socket2",
    "time",
    "tokio",
];

/// Crates that only few of ours may name: the rest of the house could live without them.
const CONFINED: [(&str, &[&str]); 2] =
    [("glommio", &["runtime-glommio"]), ("kube", &["k8s-adapter", "fake-kubernetes"])];

#[test]
fn arrows_point_down() {
    let allowed = BTreeMap::from(ARROWS);
    let ours = direct_dependencies();
    assert_eq!(ours.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>(), "the rooms of the house");
    for (package, dependencies) in &ours {
        for dependency in dependencies.iter().filter(|name| ours.contains_key(*name)) {
            let known =
                allowed.get(package.as_str()).is_some_and(|names| names.contains(&dependency.as_str()));
            assert!(known, "{package} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_core_does_not_know_the_world() {
    for package in CORE {
        for name in all_dependencies(package) {
            let banned = WORLDLY.contains(&name.as_str());
            assert!(!banned, "{package} must not depend on {name}, not even through others");
        }
    }
}

#[test]
fn the_pump_does_not_know_what_it_stands_on() {
    for name in all_dependencies("runtime") {
        assert!(
            !["glommio", "io-uring", "mio", "tokio"].contains(&name.as_str()),
            "runtime depends on {name}"
        );
    }
}

#[test]
fn some_crates_stay_in_one_room() {
    for (package, dependencies) in direct_dependencies() {
        for (name, owners) in CONFINED {
            assert!(
                owners.contains(&package.as_str()) || !dependencies.iter().any(|found| found == name),
                "{package} names {name}"
            );
        }
    }
}

#[test]
fn clippy_watches_the_core() {
    let [routing, proto] = CORE.map(|package| read(&format!("{package}/clippy.toml")));
    assert!(routing == proto, "both crates of the core live under the same rules");
    for banned in
        ["std::time::Instant::now", "std::thread::spawn", "std::collections::HashMap::iter", "std::println"]
    {
        assert!(routing.contains(banned), "{banned} is banned from the core");
    }
}

/// What the manifests of our packages name, for any purpose.
fn direct_dependencies() -> BTreeMap<String, Vec<String>> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo prints JSON");
    let list = |value: &Value, key| value.get(key).and_then(Value::as_array).cloned().expect("a list");
    let name = |value: &Value| value.get("name").and_then(Value::as_str).expect("a name").to_owned();
    let packages = list(&metadata, "packages");
    packages
        .iter()
        .map(|package| (name(package), list(package, "dependencies").iter().map(name).collect()))
        .collect()
}

/// What `package` is built from, through others as well.
fn all_dependencies(package: &str) -> Vec<String> {
    let tree = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--locked"]);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}
