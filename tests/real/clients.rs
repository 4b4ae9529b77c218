//! Official clients: every feature of `server-everything`, directly, so that we know the client is right, and through
//! the gateway.

use crate::gateway::{Gateway, Runtime};
use crate::on_both_runtimes;
use crate::parts::{Era, Parts, Python};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Command;

#[test]
fn directly() {
    let Some(parts) = Parts::installed() else { return };
    let server = parts.everything();
    passes(typescript(&parts).arg(&server.url).env("DIRECT", "1"));
    passes(python(&parts).arg(&server.url).env("DIRECT", "1"));
    let paged = parts.fixture_in_pages_of(3, Era::Legacy);
    passes(fixture(&parts).arg(&paged.url));
}

on_both_runtimes![
    typescript_client_with_one_target,
    typescript_client_with_two_targets,
    python_client_with_one_target,
    python_client_with_two_targets,
    inspector_with_one_target,
    inspector_with_two_targets,
    pages_of_two_targets,
    a_dead_and_a_silent_target_are_not_felt,
];

fn typescript_client_with_one_target(runtime: Runtime) {
    with_one_target(runtime, typescript);
}

fn typescript_client_with_two_targets(runtime: Runtime) {
    with_two_targets(runtime, typescript);
}

fn python_client_with_one_target(runtime: Runtime) {
    with_one_target(runtime, python);
}

fn python_client_with_two_targets(runtime: Runtime) {
    with_two_targets(runtime, python);
}

fn inspector_with_one_target(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let server = parts.everything();
    let Some(gateway) = Gateway::before(runtime, &[&server]) else { return };
    for step in [
        &["tools/list"][..],
        &["tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"],
        &["resources/list"],
        &["prompts/list"],
    ] {
        assert_eq!(inspect(&parts, &gateway.url, step), inspect(&parts, &server.url, step), "{step:?}");
    }
}

fn inspector_with_two_targets(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let (a, b) = (parts.everything(), parts.everything());
    let Some(gateway) = Gateway::before(runtime, &[&a, &b]) else { return };
    let named = |method: &str, pointer: &str, key: &str, url: &str| {
        listed(&inspect(&parts, url, &[method]), pointer, key)
    };
    for (method, pointer, key, separator) in [
        ("tools/list", "/result/tools", "name", '_'),
        ("prompts/list", "/result/prompts", "name", '_'),
        ("resources/list", "/result/resources", "uri", '+'),
    ] {
        let alone = named(method, pointer, key, &a.url);
        let expected: Vec<_> = ["a", "b"]
            .iter()
            .flat_map(|t| alone.iter().map(move |name| format!("{t}{separator}{name}")))
            .collect();
        assert_eq!(named(method, pointer, key, &gateway.url), expected, "{method}");
    }
    let call = |url: &str, tool: &str| {
        inspect(&parts, url, &["tools/call", "--tool-name", tool, "--tool-arg", "message=hi"])
    };
    assert_eq!(call(&gateway.url, "b_echo"), call(&b.url, "echo"));
}

fn pages_of_two_targets(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let (a, b) = (parts.fixture_in_pages_of(3, Era::Legacy), parts.fixture_in_pages_of(4, Era::Legacy));
    let Some(gateway) = Gateway::before(runtime, &[&a, &b]) else { return };
    passes(fixture(&parts).args([&gateway.url, "a", "b"]));
}

fn a_dead_and_a_silent_target_are_not_felt(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let (a, b) = (parts.everything(), parts.everything());
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let silent_url = format!("http://{}/mcp", silent.local_addr().expect("a bound socket has an address"));
    let urls = [a.url.as_str(), b.url.as_str(), "http://127.0.0.1:1/mcp", &silent_url];
    let Some(gateway) = Gateway::before_urls(runtime, &urls) else { return };
    passes(typescript(&parts).args([&gateway.url, "a", "b"]));
}

fn with_one_target(runtime: Runtime, client: fn(&Parts) -> Command) {
    let Some(parts) = Parts::installed() else { return };
    let server = parts.everything();
    let Some(gateway) = Gateway::before(runtime, &[&server]) else { return };
    passes(client(&parts).arg(&gateway.url));
}

fn with_two_targets(runtime: Runtime, client: fn(&Parts) -> Command) {
    let Some(parts) = Parts::installed() else { return };
    let (a, b) = (parts.everything(), parts.everything());
    let Some(gateway) = Gateway::before(runtime, &[&a, &b]) else { return };
    passes(client(&parts).args([&gateway.url, "a", "b"]));
}

fn typescript(parts: &Parts) -> Command {
    parts.script("clients/typescript.mjs")
}

fn python(parts: &Parts) -> Command {
    parts.python(Python::V1, "clients/python.py")
}

fn fixture(parts: &Parts) -> Command {
    parts.script("clients/fixture.mjs")
}

/// What is listed in what the Inspector printed, by `key`.
pub(crate) fn listed(printed: &str, pointer: &str, key: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(printed).expect("JSON");
    let items = answer.pointer(pointer).and_then(Value::as_array).expect("a list");
    items.iter().map(|item| item.get(key).and_then(Value::as_str).expect("a name").to_owned()).collect()
}

/// What the Inspector prints for one method.
pub(crate) fn inspect(parts: &Parts, url: &str, method: &[&str]) -> String {
    let mut inspector = parts.package("@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    inspector.args(["--cli", url, "--transport", "http", "--format", "json", "--method"]).args(method);
    // There is no key ring where tests run.
    passes(inspector.env("MCP_INSPECTOR_SECRET_STORE", "memory"))
}

/// Runs a program to its good end and gives what it printed.
pub(crate) fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}
