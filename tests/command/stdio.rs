//! `mcp-gateway stdio`: the gateway as a program that its client starts.

use crate::gateway::{Gateway, command, runtimes};
use crate::programs::{call, configuration, initialize, mark, marked, server};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

#[test]
fn standard_input_and_output_are_a_client() {
    for runtime in runtimes() {
        let mark = mark("stdio", runtime);
        let file = configuration(&format!("stdio-{runtime}.json"), server(), &mark);
        let runtime = format!("--runtime={runtime}");
        let mut command =
            command(&["stdio", "--config", file.path(), &runtime, "--log-format=json", "--access-log=all"]);
        let mut gateway = Gateway::from_command(command.stdin(Stdio::piped()));
        let mut input = gateway.child.stdin.take().unwrap();
        let mut output = BufReader::new(gateway.child.stdout.take().unwrap());
        let mut answer = |request: &Value| -> Value {
            writeln!(input, "{request}").unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
        };
        let opened = answer(&initialize());
        assert_eq!((&opened["id"], &opened["result"]["protocolVersion"]), (&1.into(), &"2025-11-25".into()));
        let called = answer(&call());
        assert_eq!(called["id"], 2);
        assert!(called["result"]["content"][0]["text"].is_string(), "{called}");
        assert!(marked(&mark) > 0);

        drop(input);
        let shutdown = gateway.logged("shutting down; a second signal ends it at once");
        assert_eq!(shutdown["signal"], "end of input");
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert_eq!(gateway.ended(), Some(0));
        assert_eq!(marked(&mark), 0);
    }
}

#[test]
fn many_run_side_by_side_since_none_listens() {
    let start = || Gateway::from_command(command(&["stdio", "--log-format=json"]).stdin(Stdio::piped()));
    let gateways = [start(), start()];
    for mut gateway in gateways {
        drop(gateway.child.stdin.take());
        assert_eq!(gateway.ended(), Some(0));
    }
}
