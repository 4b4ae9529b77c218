//! A federated pair of servers walked through by hand with `curl`, as guides to HTTP+SSE tell it: open the stream, copy
//! the session's id out of it, and post with it.

#![expect(clippy::indexing_slicing, reason = "JSON gives null for what it doesn't have")]

use crate::gateway::{Gateway, Runtime};
use crate::on_both_runtimes;
use crate::parts::{Parts, skip};
use crate::process::{Process, wait_until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

on_both_runtimes![by_hand];

fn by_hand(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let (one, other) = (parts.everything(), parts.everything());
    let Some(gateway) = Gateway::before(runtime, &[&one, &other]) else { return };
    let port = gateway.url.trim_end_matches("/mcp").rsplit(':').next().expect("the URL has a port");
    walk(&format!("localhost:{port}"), ["a_echo", "b_echo"]);
}

/// The walk, at a gateway with these two tools, each of which is the reference server's `echo`.
pub(crate) fn walk(authority: &str, names: [&str; 2]) {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("there is no curl");
    }
    let terminal = Terminal::open(authority);
    let answer = terminal.types(
        r#"curl "http://localhost:8080/mcp?sessionId=$SESSION_ID" -v \
     -H "Accept: text/event-stream,application/json" \
     --json '{"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{"roots":{}},"clientInfo":{"name":"claude-code","version":"1.0.60"}},"jsonrpc":"2.0","id":0}'"#,
    );
    accepted(&answer);
    let initialized = terminal.reads(0);
    assert_eq!(initialized["result"]["protocolVersion"], "2024-11-05", "{initialized}");
    assert!(initialized["result"]["serverInfo"]["name"].is_string(), "{initialized}");

    terminal.posts(r#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#);
    terminal.posts(r#"{"method":"tools/list","jsonrpc":"2.0","id":1}"#);
    let listed = terminal.reads(1);
    let tools = listed["result"]["tools"].as_array().expect("a list of tools");
    for name in names {
        assert!(tools.iter().any(|tool| tool["name"] == name), "{name} in {tools:?}");
    }

    let [_, name] = names;
    let call = r#"{"method":"tools/call","params":{"name":"NAME","arguments":{"message":"hi"}},"jsonrpc":"2.0","id":2}"#;
    terminal.posts(&call.replace("NAME", name));
    assert_eq!(terminal.reads(2)["result"]["content"][0]["text"], "Echo: hi");
}

/// Two shells: one where the stream runs, one to type in.
struct Terminal {
    authority: String,
    session: String,
    stream: PathBuf,
    _curl: Process,
}

impl Terminal {
    fn open(authority: &str) -> Self {
        let stream = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stream-{authority}"));
        // Left by an earlier run.
        let _ = fs::remove_file(&stream);
        let mut curl = Command::new("curl");
        curl.args(["-N", "-v", &format!("{authority}/sse"), "-o"]).arg(&stream);
        let mut curl = Process::start(&format!("curl-{authority}"), &mut curl);
        let said = || fs::read_to_string(&stream).unwrap_or_default();
        curl.wait_until(|| said().contains("sessionId=") && said().contains("\n\n"))
            .expect("the stream begins");
        let text = said();
        let data = text.strip_prefix("event: endpoint\ndata: ").expect("its first event names the endpoint");
        let query = data.lines().next().and_then(|line| line.split_once("sessionId="));
        let session = query.expect("the endpoint has the session's id").1.to_owned();
        Self { authority: authority.to_owned(), session, stream, _curl: curl }
    }

    /// A command as the guide has it, but for where the gateway is.
    fn types(&self, line: &str) -> Output {
        let line = line.replace("localhost:8080", &self.authority);
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("SESSION_ID", &self.session).output().expect("there is a shell")
    }

    fn posts(&self, message: &str) {
        let line = format!(
            r#"curl "http://localhost:8080/mcp?sessionId=$SESSION_ID" -v -H "Accept: text/event-stream,application/json" --json '{message}'"#
        );
        accepted(&self.types(&line));
    }

    /// What the stream says to the request with this id.
    fn reads(&self, id: u64) -> Value {
        let answer = || {
            let text = fs::read_to_string(&self.stream).ok()?;
            let messages = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let mut messages = messages.filter_map(|data| serde_json::from_str::<Value>(data).ok());
            messages.find(|message| message["id"] == id && message.get("method").is_none())
        };
        wait_until(|| answer().is_some());
        answer().expect("it came")
    }
}

/// That curl was told 202, as the transport wants it.
fn accepted(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("< HTTP/1.1 202 "), "{said}");
}
