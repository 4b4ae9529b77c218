//! The command from outside: what it prints, what it answers, how it ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod gateway;
mod kubernetes;
mod manifests;
mod programs;
mod stdio;
mod talk;

use gateway::{File, Gateway, PATIENCE, output, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

#[test]
fn help_shows_how_to_begin() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for line in ["Usage: mcp-gateway [OPTIONS]", "mcp-gateway --config gateway.yaml", "--target <NAME=URL>"] {
        assert!(text(&help.stdout).contains(line), "{line}");
    }
}

#[test]
fn check_prints_what_would_be_served() {
    let file = File::new(
        "good.yaml",
        "workers: 3\nmcpServers:\n  My Time: {url: 'http://time.example/mcp', timeout: 5}\n",
    );
    let check = output(&["check", "--config", file.path(), "--listen=127.0.0.1:8123"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert_eq!(
        text(&check.stdout),
        format!(
            "note: {}:3: mcpServers.My Time.timeout: means nothing to the gateway and is ignored\n\
             endpoint   http://127.0.0.1:8123/mcp\n\
             admin      http://127.0.0.1:9901\n\
             runtime    tokio\n\
             workers    3\n\
             shutdown   10s\n\
             targets    1\n  my-time              http://time.example/mcp\n",
            file.path()
        )
    );
}

#[test]
fn a_bad_file_is_refused_with_its_lines() {
    let file = File::new("bad.yaml", "listn: x\nmcpServers:\n  a: {url: 'https://a/'}\n");
    for arguments in [&["check", "--config", file.path()][..], &["--config", file.path()]] {
        let refused = output(arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(
            text(&refused.stderr),
            format!(
                "error: {file}:1: listn: unknown key; did you mean \"listen\"?\n\
                 error: {file}:3: mcpServers.a.url: TLS to targets (https://) is not supported yet; use http://\n",
                file = file.path()
            )
        );
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &["--nonsense"][..],
        &["--workers=0"],
        &["--runtime=fast"],
        &["--target=http://127.0.0.1/"],
        &["--target=a=https://127.0.0.1/"],
        &["--config=/nonexistent.yaml"],
        &["check", "--config=/nonexistent.yaml"],
    ] {
        assert_eq!(output(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other, advice) in [
        ("--listen", "--admin=off", "--listen"),
        ("--admin", "--listen=127.0.0.1:0", "--admin (\"off\" to have none)"),
    ] {
        let refused = output(&[flag, &address, other, "--log-level=off", "--runtime=tokio"]);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(
            text(&refused.stderr),
            format!(
                "error: {address} is in use by another program, perhaps another gateway; stop that one, or choose an \
                 address with {advice}\n"
            )
        );
    }
}

/// glommio needs 512 KiB of locked memory; any machine can be made to refuse that.
fn without_locked_memory(arguments: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -l 64 && exec {} {arguments}", env!("CARGO_BIN_EXE_mcp-gateway"))]);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn glommio_by_name_is_refused_where_it_cannot_run() {
    let arguments = "--runtime=glommio --listen=127.0.0.1:0 --admin=off --log-level=off";
    let refused = without_locked_memory(arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    let reason = text(&refused.stderr);
    assert!(reason.starts_with("error: --runtime glommio can't run here: "), "{reason}");
}

#[test]
fn auto_falls_back_to_tokio_and_says_why() {
    let gateway = Gateway::from(without_locked_memory(
        "--runtime=auto --listen=127.0.0.1:0 --admin=127.0.0.1:0 --log-format=json --target=a=http://127.0.0.1:9/",
    ));
    assert_eq!(gateway.runtime, "tokio");
    assert!(gateway.preface.iter().any(|message| message == FALLBACK), "{:?}", gateway.preface);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

const FALLBACK: &str = "glommio can't run here, using tokio";

#[test]
fn auto_is_glommio_unless_it_says_why_not() {
    let gateway = Gateway::start(&["--runtime=auto", "--target=a=http://127.0.0.1:9/"]);
    let fell_back = gateway.preface.iter().any(|message| message == FALLBACK);
    assert_eq!(gateway.runtime, if fell_back { "tokio" } else { "glommio" });
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn the_admin_endpoint_tells_health_readiness_and_numbers() {
    let gateway = Gateway::start(&["--target=a=http://127.0.0.1:9/", "--workers=2"]);
    assert_eq!(gateway.admin("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(gateway.admin("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(gateway.metric("mcp_gateway_workers"), 2);
    assert_eq!(gateway.metric("mcp_gateway_targets"), 1);
    assert_eq!(gateway.metric("mcp_gateway_targets_unresolved"), 0);
    assert_eq!(gateway.metric("mcp_gateway_shard_panics_total"), 0);
    let build =
        format!("mcp_gateway_build_info{{version=\"{}\",runtime=\"tokio\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(gateway.metric(&build), 1);
    assert_eq!(gateway.admin("/").0, 404);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn a_signal_ends_it_well() {
    for signal in ["-TERM", "-INT"] {
        let gateway = Gateway::start(&["--target=a=http://127.0.0.1:9/"]);
        let endpoint = gateway.endpoint;
        gateway.signal(signal);
        gateway.logged("shutting down; a second signal ends it at once");
        // Nothing in between: all workers ended by themselves.
        assert_eq!(gateway.next_line()["message"], "stopped");
        assert_eq!(gateway.ended(), Some(0));
        assert!(TcpStream::connect(endpoint).is_err());
    }
}

#[test]
fn a_changed_file_is_served_and_a_broken_one_is_not() {
    let file = File::new("reload.yaml", "targets: {a: {url: 'http://127.0.0.1:9/'}}\n");
    let gateway = Gateway::start(&["--config", file.path()]);
    assert_eq!(gateway.metric("mcp_gateway_targets"), 1);

    file.write("targets: {a: {url: 'http://127.0.0.1:9/'}, b: {url: 'http://127.0.0.1:9/'}}\nworkers: 7\n");
    gateway.signal("-HUP");
    assert_eq!(gateway.logged("these keys changed and take effect after a restart")["keys"], "workers");
    assert_eq!(gateway.logged("configuration reloaded")["targets"], 2);
    assert_eq!(gateway.metric("mcp_gateway_targets"), 2);
    assert_eq!(gateway.metric("mcp_gateway_config_current"), 1);
    assert_eq!(gateway.metric("mcp_gateway_config_reloads_total{outcome=\"ok\"}"), 1);

    // Without a signal, by looking at the file: takes its two seconds.
    file.write("targets: {a: {ulr: 'http://127.0.0.1:9/'}}\n");
    let refused = gateway.logged("configuration not reloaded, the old one stays in force");
    assert_eq!(
        refused["problem"],
        format!("{}:1: targets.a.ulr: unknown key; did you mean \"url\"?", file.path())
    );
    gateway.logged("configuration not reloaded, the old one stays in force");
    assert_eq!(gateway.metric("mcp_gateway_targets"), 2);
    assert_eq!(gateway.metric("mcp_gateway_config_current"), 0);
    assert_eq!(gateway.metric("mcp_gateway_config_reloads_total{outcome=\"error\"}"), 1);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn the_demo_prints_the_tools_of_both_servers() {
    let mut gateway = Gateway::start(&[]);
    let mut lines = BufReader::new(gateway.child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let printed: Vec<String> =
        lines.by_ref().take_while(|line| !line.contains("mcp-gateway --target")).collect();
    let url = format!("http://{}/mcp", gateway.endpoint);
    assert_eq!(
        printed,
        [
            "",
            &format!("The gateway is at {url}"),
            "with two demo servers behind it. Their tools, as a client sees them:",
            "  clock_now    The time in UTC",
            "  clock_wait   Waits some seconds and reports progress meanwhile",
            "  notes_add    Writes a note",
            "  notes_list   All notes, oldest first",
            "",
            "Next, in another terminal:",
            &format!(
                "  npx @modelcontextprotocol/inspector --cli {url} --transport http --method tools/list"
            ),
            "Then with a server of your own:",
        ]
    );
    assert_eq!(gateway.end("-TERM"), Some(0));
}

/// Calls the demo's `clock_wait` for two seconds; returns at its first sign of life, with the connection.
fn call_that_takes_time(gateway: &Gateway) -> BufReader<TcpStream> {
    let post = |session: &str, body: &str| {
        let mut stream = TcpStream::connect(gateway.endpoint).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n{body}",
            gateway.endpoint,
            body.len()
        )
        .unwrap();
        BufReader::new(stream)
    };
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let head: Vec<String> = post("", initialize).lines().map(Result::unwrap).collect();
    let session = head.iter().find(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:")).unwrap();
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"clock_wait",
        "arguments":{"seconds":2},"_meta":{"progressToken":"p"}}}"#;
    let mut stream = post(&format!("{session}\r\n"), call);
    let mut line = String::new();
    while !line.contains("notifications/progress") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the answer ended early");
    }
    stream
}

/// Takes the two seconds that the call takes.
#[test]
fn a_call_under_way_is_answered_before_the_end() {
    let gateway = Gateway::start(&[]);
    let mut stream = call_that_takes_time(&gateway);
    gateway.signal("-TERM");
    gateway.logged("shutting down; a second signal ends it at once");
    assert_eq!(gateway.admin("/readyz"), (503, "shutting down\n".to_owned()));
    assert_eq!(gateway.admin("/healthz"), (200, "ok\n".to_owned()));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""text":"waited 2 s""#), "{rest}");
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let gateway = Gateway::start(&[]);
    let mut stream = call_that_takes_time(&gateway);
    gateway.signal("-TERM");
    gateway.logged("shutting down; a second signal ends it at once");
    assert_eq!(gateway.end("-TERM"), Some(1));
    let mut rest = Vec::new();
    // A reset is as good an end here as a close.
    _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("waited"));
}
