//! What a configuration file may say, and what the answer is when it says something else.

use super::*;

fn environment(name: &str) -> Option<String> {
    let (_, value) = [("TOKEN", "s3cret"), ("PATH", "/bin"), ("HOME", "/home/me"), ("LC_ALL", "C")]
        .into_iter()
        .find(|(known, _)| *known == name)?;
    Some(value.to_owned())
}

fn settings(text: &str) -> Settings {
    read("gateway.yaml", text, None, environment).unwrap().0
}

fn problems(text: &str) -> Vec<String> {
    let problems = read("gateway.yaml", text, None, environment).unwrap_err();
    problems.iter().map(Problem::to_string).collect()
}

/// One file, one problem.
fn problem(text: &str) -> String {
    problems(text).join("\n")
}

const YAML: &str = "
listen: 0.0.0.0:80
admin: off
runtime: tokio
workers: 4
accessLog: off
allowedHosts: [gateway.example]
allowedOrigins: \"*\"
sessionKey:
  - 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
  - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
limits:
  head: 16KiB
  connections: 7
timeouts:
  session: 1h
  shutdown: 0s
  gather: 250ms
mcpServers:
  Brave_Search:
    type: streamable-http
    url: http://search.example/mcp
    headers:
      Authorization: Bearer ${TOKEN}
targets:
  brave-search:
    headers: {x-team: tools}
    forwardHeaders: [X-User]
    timeouts: {connect: 1s}
  files:
    url: http://127.0.0.1:3001/
";

const JSON: &str = r#"{
	"$schema": "https://example.org/schema.json",
	"listen": "0.0.0.0:80", "admin": "off", "runtime": "tokio", "workers": 4, "accessLog": "off",
	"allowedHosts": ["gateway.example"], "allowedOrigins": ["*"],
	"sessionKey": [
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	],
	"limits": {"head": 16384, "connections": 7},
	"timeouts": {"session": "60m", "shutdown": "0s", "gather": "250ms"},
	"mcpServers": {
		"Brave_Search": {
			"type": "streamable-http",
			"url": "http://search.example/mcp",
			"headers": {"Authorization": "Bearer ${TOKEN}"}
		}
	},
	"targets": {
		"brave-search": {
			"headers": {"x-team": "tools"}, "forwardHeaders": ["X-User"], "timeouts": {"connect": "1s"}
		},
		"files": {"url": "http://127.0.0.1:3001/"}
	}
}"#;

#[test]
fn yaml_and_json_say_the_same() {
    let timeouts = routing::Timeouts { gather: Duration::from_millis(250), ..Default::default() };
    let mut search = Server::new("Brave_Search", "http://search.example/mcp", timeouts).unwrap();
    search.target.timeouts.connect = Duration::from_secs(1);
    search.target.headers = vec![
        ("authorization".to_owned(), "Bearer s3cret".to_owned()),
        ("x-team".to_owned(), "tools".to_owned()),
    ];
    search.target.forward.fields = vec!["x-user".to_owned()];
    let files = Server::new("files", "http://127.0.0.1:3001/", timeouts).unwrap();
    let expected = Settings {
        manifests: None,
        listen: "0.0.0.0:80".parse().unwrap(),
        admin: None,
        runtime: Runtime::Tokio,
        workers: Some(4),
        access_log: AccessLog::Off,
        allowed_hosts: vec!["gateway.example".to_owned()],
        allowed_origins: vec!["*".to_owned()],
        session_keys: vec![std::array::from_fn(|i| i as u8), [0; 32]],
        limits: Limits { head: 16 << 10, connections: 7, ..Limits::default() },
        timeouts: Timeouts { session: Duration::from_secs(3600), ..Timeouts::default() },
        target_timeouts: timeouts,
        shutdown: Duration::ZERO,
        servers: vec![search, files],
    };
    assert_eq!(settings(YAML), expected);
    assert_eq!(settings(JSON), expected);
}

#[test]
fn nothing_is_a_configuration_too() {
    for text in ["", "# all defaults\n", "{}", "limits:\nmcpServers:\n"] {
        assert_eq!(settings(text), Settings::default(), "{text:?}");
    }
}

#[test]
fn maps_of_clients_are_valid_as_they_stand() {
    for entry in [
        r#""url": "http://h:1/mcp""#,
        r#""type": "http", "url": "http://h:1/mcp""#,
        r#""type": "streamable-http", "url": "http://h:1/mcp""#,
        r#""type": "streamableHttp", "url": "http://h:1/mcp", "autoApprove": [], "disabled": false"#,
        r#""transport": "streamable_http", "url": "http://h:1/mcp", "timeout": 60, "alwaysAllow": ["x"]"#,
        r#""url": "http://${HOST:-h}:1/mcp", "description": "d", "trust": true, "env": {}, "enabled": true"#,
    ] {
        let servers = settings(&format!("{{\"mcpServers\": {{\"Everything\": {{{entry}}}}}}}")).servers;
        let expected = Server::new("Everything", "http://h:1/mcp", routing::Timeouts::default()).unwrap();
        assert_eq!(servers, [expected], "{entry}");
    }
}

#[test]
fn every_limit_and_timeout_can_be_set() {
    let keys = |keys: Vec<&str>, value: &str| -> String {
        keys.iter().map(|key| format!("  {key}: {value}\n")).collect()
    };
    let (mut limits, mut timeouts) = (Limits::default(), Timeouts::default());
    // Which fields there are is best known to their owner.
    let fields = |text: String| text.matches(": ").count();
    assert_eq!(fields(format!("{limits:?}")), limit_fields(&mut limits).len());
    // "shutdown" is the frontends' as well, and read apart.
    assert_eq!(fields(format!("{timeouts:?}")), timeout_fields(&mut timeouts).len() + 1);
    let limits = keys(limit_fields(&mut limits).iter().map(|(key, ..)| *key).collect(), "12345");
    let timeouts = keys(timeout_fields(&mut timeouts).iter().map(|(key, _)| *key).collect(), "7s");
    let mut settings = settings(&format!("limits:\n{limits}timeouts:\n{timeouts}"));
    assert!(limit_fields(&mut settings.limits).iter().all(|(.., value)| **value == 12345));
    assert!(
        timeout_fields(&mut settings.timeouts).iter().all(|(_, value)| **value == Duration::from_secs(7))
    );
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_the_right_one() {
    for (text, expected) in [
        ("listn: x", "gateway.yaml:1: listn: unknown key; did you mean \"listen\"?"),
        ("servers: {}", "gateway.yaml:1: servers: unknown key; did you mean \"mcpServers\"?"),
        (
            "targets:\n  time: {url: 'http://h/', httpUrl: 'http://h/'}",
            "gateway.yaml:2: targets.time.httpUrl: unknown key; did you mean \"url\"?",
        ),
        ("limits:\n  heads: 1", "gateway.yaml:2: limits.heads: unknown key; did you mean \"head\"?"),
        (
            "timeouts:\n\n  keepalive: 1s",
            "gateway.yaml:3: timeouts.keepalive: unknown key; did you mean \"keepAlive\"?",
        ),
        (
            "mcpServers:\n  time:\n    url: http://h/\n    header: {}",
            "gateway.yaml:4: mcpServers.time.header: unknown key; did you mean \"headers\"?",
        ),
        (
            "targets:\n  time: {url: 'http://h/', timeouts: {zzz: 1s}}",
            "gateway.yaml:2: targets.time.timeouts.zzz: unknown key; known here: connect, firstByte, idle, gather",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_what_would_be_right() {
    for (text, expected) in [
        (
            "listen: 8080",
            "gateway.yaml:1: listen: expected an address and a port such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\", \
             found 8080",
        ),
        (
            "runtime: gloomio",
            "gateway.yaml:1: runtime: expected \"tokio\", \"glommio\" or \"auto\", found \"gloomio\"; did you mean \
             \"glommio\"?",
        ),
        ("accessLog: true", "gateway.yaml:1: accessLog: expected \"off\", \"errors\" or \"all\", found true"),
        ("workers: 0", "gateway.yaml:1: workers: expected a whole number from 1 to 1024, found 0"),
        ("workers: -1", "gateway.yaml:1: workers: expected a whole number from 1 to 1024, found -1"),
        ("limits: 5", "gateway.yaml:1: limits: expected a map of keys and values, found 5"),
        (
            "limits:\n  head: 32KB",
            "gateway.yaml:2: limits.head: expected a size such as 65536, \"64KiB\" or \"4MiB\", found \"32KB\"",
        ),
        (
            "limits:\n  depth: 1KiB",
            "gateway.yaml:2: limits.depth: expected a whole number from 1 on, found \"1KiB\"",
        ),
        (
            "timeouts:\n  head: 10",
            "gateway.yaml:2: timeouts.head: expected a duration such as \"500ms\", \"10s\", \"30m\" or \"1h\", found 10",
        ),
        (
            "timeouts:\n  head: 0s",
            "gateway.yaml:2: timeouts.head: expected a duration such as \"500ms\", \"10s\", \"30m\" or \"1h\", found \
             \"0s\"",
        ),
        (
            "allowedHosts: [a, 1]",
            "gateway.yaml:1: allowedHosts: expected a list of texts in quotes, found a list",
        ),
        (
            "sessionKey: secret",
            "gateway.yaml:1: sessionKey: expected 32 bytes as 64 hexadecimal digits or as base64; make one with: \
             openssl rand -hex 32",
        ),
        (
            "sessionKeyFile: /nonexistent/key",
            "gateway.yaml:1: sessionKeyFile: /nonexistent/key can't be read: No such file or directory (os error 2)",
        ),
        ("just words", "gateway.yaml:1: expected a map of keys and values, found \"just words\""),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn a_program_is_a_server_too() {
    let text = r#"{"mcpServers": {
        "Time": {
            "type": "stdio", "command": "uvx", "args": ["mcp-server-time", "--token=${TOKEN}"], "cwd": "/srv",
            "env": {"TZ": "UTC", "TOKEN": "${env:TOKEN}", "HOME": "/tmp"}, "headers": {"a": "b"}
        },
        "bare": {"command": "${SERVER:-server}", "shared": true, "protocol": "legacy"},
        "later": {"command": "server"}
    }, "targets": {"later": {"args": ["-x"], "timeouts": {"gather": "1s"}}}}"#;
    let (settings, notes) = read("gateway.yaml", text, None, environment).unwrap();
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let bare = routing::Process {
        command: "server".to_owned(),
        args: Vec::new(),
        env: pairs(&[("PATH", "/bin"), ("HOME", "/home/me"), ("LC_ALL", "C")]),
        cwd: None,
        shared: true,
    };
    let time = routing::Process {
        command: "uvx".to_owned(),
        args: vec!["mcp-server-time".to_owned(), "--token=s3cret".to_owned()],
        env: pairs(&[
            ("PATH", "/bin"),
            ("HOME", "/tmp"),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("TOKEN", "s3cret"),
        ]),
        cwd: Some("/srv".to_owned()),
        shared: false,
    };
    let later = routing::Process { args: vec!["-x".to_owned()], shared: false, ..bare.clone() };
    let targets: Vec<_> = settings.servers.iter().map(|server| &server.target).collect();
    let processes: Vec<_> = targets.iter().map(|target| target.process.as_deref().unwrap()).collect();
    assert_eq!(processes, [&time, &bare, &later]);
    assert_eq!(
        targets.iter().map(|target| target.name().as_str()).collect::<Vec<_>>(),
        ["time", "bare", "later"]
    );
    assert_eq!(targets[1].protocol, routing::Protocol::Legacy);
    assert_eq!(targets[2].timeouts.gather, Duration::from_secs(1));
    assert!(settings.servers.iter().all(|server| server.host.is_none()));
    assert_eq!(notes, ["gateway.yaml:4: mcpServers.Time.headers: means nothing to a program and is ignored"]);
}

#[test]
fn what_a_target_speaks_can_be_said() {
    use routing::Protocol::{Auto, Legacy, Modern, Sse};
    for (keys, protocol) in [
        ("", Auto),
        ("type: http, ", Auto),
        ("type: sse, ", Sse),
        ("transport: sse, protocol: auto, ", Auto),
        ("protocol: sse, ", Sse),
        ("protocol: modern, type: streamable-http, ", Modern),
        ("protocol: legacy, ", Legacy),
    ] {
        let servers = settings(&format!("mcpServers: {{a: {{{keys}url: 'http://a/'}}}}")).servers;
        assert_eq!(servers[0].target.protocol, protocol, "{keys}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_says_so_once() {
    let server = |keys: &str| problem(&format!("mcpServers:\n  s:\n    {keys}"));
    for (keys, expected) in [
        (
            "{command: npx, args: [-y, server], url: 'http://h/'}",
            "gateway.yaml:3: mcpServers.s.url: a server is at a \"url\" or is started by a \"command\", not both",
        ),
        (
            "{type: http, command: npx}",
            "gateway.yaml:3: mcpServers.s.type: a server that is started by a \"command\" speaks \"stdio\"",
        ),
        (
            "{protocol: sse, command: npx}",
            "gateway.yaml:3: mcpServers.s.protocol: \"sse\" is spoken at a \"url\" only",
        ),
        (
            "{command: npx, envFile: .env}",
            "gateway.yaml:3: mcpServers.s.envFile: files of variables are not read; write them into \"env\"",
        ),
        ("{command: ' '}", "gateway.yaml:3: mcpServers.s.command: expected a program, found \" \""),
        (
            "{command: npx, args: [-y, '${NOPE}']}",
            "gateway.yaml:3: mcpServers.s.args: the environment variable \"NOPE\" is not set",
        ),
        (
            "{command: npx, env: {A: 1}}",
            "gateway.yaml:3: mcpServers.s.env.A: expected a text in quotes, found 1",
        ),
        (
            "{command: npx, env: {A=B: c}}",
            "gateway.yaml:3: mcpServers.s.env.A=B: \"A=B\" is no name of a variable",
        ),
        (
            "{url: 'http://h/', shared: true}",
            "gateway.yaml:3: mcpServers.s.shared: is for a server that is started by a \"command\"",
        ),
        (
            "{url: 'http://h/', protocol: new}",
            "gateway.yaml:3: mcpServers.s.protocol: expected \"auto\", \"modern\", \"legacy\" or \"sse\", found \
             \"new\"; known here: auto, modern, legacy, sse",
        ),
        (
            "{type: websocket, url: 'http://h/'}",
            "gateway.yaml:3: mcpServers.s.type: expected \"http\", \"streamable-http\", \"sse\" or \"stdio\", found \
             \"websocket\"",
        ),
        (
            "url: https://h/mcp",
            "gateway.yaml:3: mcpServers.s.url: TLS to targets (https://) is not supported yet; use http://",
        ),
        (
            "url: http://${NOPE}/",
            "gateway.yaml:3: mcpServers.s.url: the environment variable \"NOPE\" is not set",
        ),
        ("headers: {}", "gateway.yaml:2: mcpServers.s: has no \"url\" and no \"command\""),
        ("{type: stdio}", "gateway.yaml:3: mcpServers.s.type: \"stdio\" needs a \"command\""),
    ] {
        assert_eq!(server(keys), expected);
    }
}

#[test]
fn a_server_is_one_thing_in_both_maps() {
    let both = "a server is at a \"url\" or is started by a \"command\", not both";
    let problem = |first: &str, second: &str| {
        problem(&format!("mcpServers: {{a: {{{first}}}}}\ntargets:\n  a: {{{second}}}"))
    };
    let (url, command) = ("url: 'http://h/'", "command: npx, args: [-y]");
    assert_eq!(problem(url, command), format!("gateway.yaml:3: targets.a.command: {both}"));
    assert_eq!(problem(command, url), format!("gateway.yaml:3: targets.a.url: {both}"));
}

#[test]
fn headers_are_sound_and_leave_the_gateway_its_own() {
    let server = |keys: &str| problem(&format!("mcpServers:\n  s:\n    url: http://h/\n    {keys}"));
    for (keys, expected) in [
        ("headers: {a b: c}", "gateway.yaml:4: mcpServers.s.headers.a b: \"a b\" is no header name"),
        (
            "headers: {Host: c}",
            "gateway.yaml:4: mcpServers.s.headers.Host: the gateway writes \"host\" itself",
        ),
        ("headers: {a: 1}", "gateway.yaml:4: mcpServers.s.headers.a: expected a text in quotes, found 1"),
        (
            "headers: {a: \"b\\nc: d\"}",
            "gateway.yaml:4: mcpServers.s.headers.a: a header value is made of visible ASCII characters and spaces",
        ),
        (
            "forwardHeaders: [Content-Length]",
            "gateway.yaml:4: mcpServers.s.forwardHeaders: the gateway writes \"content-length\" itself",
        ),
    ] {
        assert_eq!(server(keys), expected);
    }
}

#[test]
fn two_names_for_one_target_are_refused() {
    assert_eq!(
        problem("mcpServers:\n  Brave_Search: {url: 'http://a/'}\n  brave search: {url: 'http://b/'}"),
        "gateway.yaml:3: mcpServers.brave search: is the same target \"brave-search\" as \"Brave_Search\" in line 2"
    );
    assert_eq!(
        problem("targets:\n  a: {url: 'http://a/'}\n  A: {url: 'http://b/'}"),
        "gateway.yaml:3: targets.A: is the same target \"a\" as \"a\" in line 2"
    );
    assert_eq!(
        problem("mcpServers:\n  ___: {url: 'http://a/'}"),
        "gateway.yaml:2: mcpServers.___: a target name is 1 to 63 lower-case letters, digits and hyphens, starts \
         with a letter and does not end with a hyphen"
    );
}

#[test]
fn broken_text_is_refused_at_its_line() {
    for (text, expected) in [
        ("a: 1\na: 2\n", "gateway.yaml:2: duplicate mapping key: a"),
        ("listen: [1\nb: 2", "gateway.yaml:2: illegal placement of ':' indicator"),
        ("a:\n\tb: 1", "gateway.yaml:2: tabs disallowed within this context (block indentation)"),
        ("a: 1\n---\nb: 2\n", "gateway.yaml:3: multiple YAML documents detected"),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    assert_eq!(
        problems("listn: x\nworkers: 0\nmcpServers:\n  a: {}\n"),
        [
            "gateway.yaml:1: listn: unknown key; did you mean \"listen\"?",
            "gateway.yaml:2: workers: expected a whole number from 1 to 1024, found 0",
            "gateway.yaml:4: mcpServers.a: has no \"url\" and no \"command\"",
        ]
    );
}

#[test]
fn what_has_no_effect_is_noted() {
    let text = "mcpServers:\n  a: {url: 'http://a/', timeout: 5}\n  b: {command: npx, disabled: true}\n";
    let (settings, notes) = read("gateway.yaml", text, None, environment).unwrap();
    assert_eq!(settings.servers.len(), 1);
    assert_eq!(
        notes,
        [
            "gateway.yaml:2: mcpServers.a.timeout: means nothing to the gateway and is ignored",
            "gateway.yaml:3: mcpServers.b.disabled: this server is left out",
        ]
    );
}

#[test]
fn what_needs_a_restart_is_named() {
    let old = settings("listen: 127.0.0.1:1\nmcpServers: {a: {url: 'http://a/'}}");
    let new = settings("workers: 3\nlimits: {depth: 4}\ntimeouts: {shutdown: 1s}");
    assert_eq!(old.fixed_keys_changed(&new), ["listen", "workers", "limits"]);
}
