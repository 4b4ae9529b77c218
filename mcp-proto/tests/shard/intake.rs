//! What the gateway makes of a client's HTTP.

use crate::support::answer::find;
use crate::support::client::{call, initialize, post, request, session_field};
use crate::support::setup::target;
use crate::support::{Answer, End, Setup, World};
use routing::{Backend, Entry, HostMatch, Listener, Match, Port, Routes, Rule};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A world, a client, and its session.
fn begin() -> (World, usize, String) {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    (world, client, session)
}

fn send(world: &mut World, client: usize, text: &str) -> Answer {
    world.send(client, text.as_bytes());
    world.clients[client].answer()
}

#[test]
fn requests_that_are_not_served_are_told_why() {
    let (mut world, _, session) = begin();
    let good = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    for (name, from, to, status, code) in [
        ("path", "/mcp", "/other", 404, -32600),
        ("accept", "application/json, text/event-stream", "text/html", 406, -32600),
        ("content type", "content-type: application/json", "content-type: text/plain", 415, -32600),
        ("no content type", "content-type: application/json\r\n", "", 415, -32600),
        ("put", "POST ", "PUT ", 405, -32600),
        ("revision", "\r\n\r\n", "\r\nmcp-protocol-version: 1999-01-01\r\n\r\n", 400, -32600),
        ("no JSON", r#""id":1,"#, r#""id":1;"#, 400, -32700),
        ("no version", r#"{"jsonrpc":"2.0""#, r#"{"jsonrpc":"1.0""#, 400, -32600),
        ("null id", r#""id":1,"#, r#""id":null,"#, 400, -32600),
        ("host", "host: localhost", "host: evil.example", 403, -32600),
        ("origin", "host: localhost", "host: localhost\r\norigin: http://evil.example", 403, -32600),
        (
            "two origins",
            "host: localhost",
            "host: localhost\r\norigin: http://localhost\r\norigin: http://localhost",
            403,
            -32600,
        ),
    ] {
        let client = world.connect(0);
        let mut text = good.replacen(from, to, 1);
        if let Some(at) = text.find("\r\n\r\n") {
            let length = format!("content-length: {}", text.len() - at - 4);
            let old = text.lines().find(|line| line.starts_with("content-length")).unwrap().to_owned();
            text = text.replace(&old, &length);
        }
        let answer = send(&mut world, client, &text);
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{name}: {}", answer.text());
        assert_eq!(answer.field("allow").is_some(), status == 405, "{name}");
        let next = world.ask(client, &session, &call("echo"));
        assert_eq!(next.tool_text(), "alpha:echo", "the connection goes on after {name}");
    }
    assert_eq!(world.server("alpha").count("tools/call"), 12);
}

#[test]
fn hosts_and_origins_that_are_allowed_pass() {
    for (host, origin, status) in [
        ("localhost:8080", "http://localhost:6274", 200),
        ("LOCALHOST", "https://127.0.0.1", 200),
        ("[::1]:8080", "http://[::1]:1", 200),
        ("127.0.0.1", "https://app.example", 200),
        ("mcp.example:443", "https://app.example", 200),
        ("mcp.example.evil", "https://app.example", 403),
        ("localhost.evil.example", "https://app.example", 403),
        ("mcp.example", "http://app.example", 403),
        ("mcp.example", "null", 403),
        ("mcp.example", "http://localhost.evil", 403),
    ] {
        let mut world = Setup::new(&["alpha"])
            .config(|config| {
                config.allowed_hosts = vec!["mcp.example".to_owned()];
                config.allowed_origins = vec!["https://app.example".to_owned()];
            })
            .build();
        let (client, session) = world.begin();
        let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
        let answer = send(
            &mut world,
            client,
            &text.replace("host: localhost", &format!("host: {host}\r\norigin: {origin}")),
        );
        assert_eq!(answer.status, status, "{host} {origin}");
        let allowed = (status == 200).then_some(origin);
        assert_eq!(answer.field("access-control-allow-origin"), allowed);
    }
}

#[test]
fn a_gateway_that_others_reach_serves_any_host_and_one_on_loopback_those_it_names() {
    let at = |address: [u8; 4]| SocketAddr::from((address, 8080));
    let backend = Arc::new(Backend::mcp("web/tools".into(), vec![target("alpha", 0)]).unwrap());
    let port = || {
        let entry = |host: &str| Entry {
            host: HostMatch::parse(host),
            on: Match::default(),
            rule: Arc::new(Rule::to("web/route/0", Arc::clone(&backend))),
        };
        Port::new(vec![Listener::new(HostMatch::Any, vec![entry("tools.example"), entry("")])])
    };
    let (inside, outside) = (at([127, 0, 0, 2]), at([0, 0, 0, 0]));
    let routes = Routes::at([(inside, port()), (outside, port())].into());
    let mut world = World::new(&["alpha"]);
    world.reroute(routes);
    for (at, host, status) in [
        (outside, "anything.example", 200),
        (outside, "10.0.0.7:8080", 200),
        (inside, "localhost:8080", 200),
        (inside, "127.0.0.2:8080", 200),
        (inside, "127.0.0.3:8080", 403),
        (inside, "tools.example", 200),
        (inside, "rebound.example", 403),
    ] {
        let client = world.connect_at(at, 0);
        let text = String::from_utf8(post("", &initialize("2025-06-18", "{}"))).unwrap();
        let answer = send(&mut world, client, &text.replace("host: localhost", &format!("host: {host}")));
        assert_eq!(answer.status, status, "{host} at {at}");
    }
}

#[test]
fn a_page_may_ask_first() {
    let (mut world, client, _) = begin();
    let text = "OPTIONS /mcp HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost:6274\r\naccess-control-request-method: POST\r\n\r\n";
    let answer = send(&mut world, client, text);
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(answer.field("access-control-allow-origin"), Some("http://localhost:6274"));
    assert_eq!(answer.field("access-control-allow-methods"), Some("POST, GET, DELETE, OPTIONS"));
    assert!(answer.field("access-control-allow-headers").unwrap().contains("Mcp-Session-Id"));
    assert!(answer.field("access-control-expose-headers").unwrap().contains("Mcp-Session-Id"));
    let answer = send(&mut world, client, &text.replace("http://localhost:6274", "http://evil.example"));
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (403, None));
}

#[test]
fn head_and_get_are_answered_as_they_must_be() {
    let (mut world, client, session) = begin();
    let answer = send(&mut world, client, "HEAD /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!((answer.status, answer.text(), answer.field("allow").is_some()), (405, "", true));
    let get = "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n";
    assert_eq!(send(&mut world, client, &format!("{get}{}\r\n", session_field(&session))).status, 406);
    let get = get.replace("application/json", "text/event-stream");
    assert_eq!(send(&mut world, client, &format!("{get}\r\n")).status, 400);
    assert_eq!(send(&mut world, client, &format!("{get}{}\r\n", session_field("x"))).status, 404);
    assert_eq!(send(&mut world, client, "DELETE /mcp/ HTTP/1.1\r\nhost: localhost\r\n\r\n").status, 400);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (mut world, client, session) = begin();
    let asks: Vec<_> =
        (0..5).map(|number| request("tools/call", &format!(r#"{{"name":"t{number}"}}"#))).collect();
    let text: Vec<u8> = asks.iter().flat_map(|ask| post(&session_field(&session), ask)).collect();
    let before = world.clients[client].answers().len();
    world.server("alpha").delay = Duration::from_secs(1);
    world.send(client, &text);
    world.advance(Duration::from_secs(6));
    let answers = world.clients[client].answers().split_off(before);
    let texts: Vec<_> = answers.iter().map(Answer::tool_text).collect();
    assert_eq!(texts, ["alpha:t0", "alpha:t1", "alpha:t2", "alpha:t3", "alpha:t4"]);
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_answers() {
    let (mut world, client, session) = begin();
    world.server("alpha").delay = Duration::from_secs(1);
    let text =
        [post(&session_field(&session), &call("a")), post(&session_field(&session), &call("b"))].concat();
    let before = world.clients[client].answers().len();
    world.send(client, &text);
    world.half_close(client);
    world.advance(Duration::from_secs(3));
    let texts: Vec<_> = world.clients[client].answers()[before..].iter().map(Answer::tool_text).collect();
    assert_eq!(texts, ["alpha:a", "alpha:b"]);
    assert_eq!(world.clients[client].end, Some(End::Finished));
}

#[test]
fn an_http_1_0_client_is_answered_without_chunks() {
    use crate::support::server::{event, stream};
    let (mut world, _, session) = begin();
    world.server("alpha").on("tools/call", |seen| stream(&[event(&seen.response("{}"))]));
    let text = String::from_utf8(post(&session_field(&session), &call("echo")))
        .unwrap()
        .replace("HTTP/1.1", "HTTP/1.0");
    let client = world.connect(0);
    let answer = send(&mut world, client, &text);
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.messages()[0]["id"], 1);
    assert_eq!(world.clients[client].end, Some(End::Finished));
    let ping = text.replace("tools/call", "ping").replacen("content-length: 99", "content-length: 93", 1);
    let kept = world.connect(0);
    let body = ping.split_once("\r\n\r\n").unwrap().1.len();
    let ping = format!(
        "POST /mcp HTTP/1.0\r\nconnection: keep-alive\r\ncontent-type: application/json\r\nhost: localhost\r\n{}content-length: {body}\r\n\r\n{}",
        session_field(&session),
        ping.split_once("\r\n\r\n").unwrap().1
    );
    for _ in 0..2 {
        let answer = send(&mut world, kept, &ping);
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
    }
}

#[test]
fn a_client_that_waits_for_a_word_gets_it() {
    let (mut world, client, session) = begin();
    let text = post(&format!("{}expect: 100-continue\r\n", session_field(&session)), &call("echo"));
    let body = find(&text, b"\r\n\r\n").unwrap() + 4;
    let before = world.clients[client].raw.len();
    world.send(client, &text[..body]);
    assert_eq!(world.clients[client].raw[before..], *b"HTTP/1.1 100 Continue\r\n\r\n");
    world.send(client, &text[body..]);
    assert_eq!(world.clients[client].answer().tool_text(), "alpha:echo");
}

#[test]
fn connection_close_is_honoured() {
    let (mut world, client, session) = begin();
    world.send(client, &post(&format!("{}connection: close\r\n", session_field(&session)), &call("echo")));
    let answer = world.clients[client].answer();
    assert_eq!((answer.field("connection"), world.clients[client].end), (Some("close"), Some(End::Finished)));
    assert_eq!(world.counters(0).client_connections.value(), 0);
}

#[test]
fn what_is_no_http_is_refused_and_closed() {
    for (text, status) in [
        (
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        ("\x16\x03\x01", 505),
        ("GET /mcp HTTP/2.0\r\nhost: localhost\r\n\r\n", 505),
        ("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        ("GET /mcp HTTP/1.1\r\n\r\n", 400),
        ("GET /mcp HTTP/1.1\r\nhost: localhost\r\nexpect: tea\r\n\r\n", 417),
    ] {
        let mut world = World::new(&["alpha"]);
        let client = world.connect(0);
        let answer = send(&mut world, client, text);
        assert_eq!((answer.status, answer.code()), (status, Some(-32600)), "{text}");
        assert_eq!(world.clients[client].end, Some(End::Finished));
        assert_eq!(world.records[0].status, status);
    }
}

#[test]
fn a_request_that_comes_round_again_is_refused() {
    let (mut world, _, session) = begin();
    world.ask_on(0, &session, &call("echo"));
    let via = world.server("alpha").last("tools/call").field("via").unwrap().to_owned();
    let client = world.connect(0);
    world
        .send(client, &post(&format!("{}via: 1.1 other, {via}\r\n", session_field(&session)), &call("echo")));
    assert_eq!(world.clients[client].answer().status, 508);
}

#[test]
fn each_request_leaves_a_line_in_the_access_log() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").delay = Duration::from_millis(30);
    world.ask_later(client, &session, &call("beta_echo"));
    world.advance(Duration::from_millis(30));
    let record = world.records.last().unwrap();
    assert_eq!(
        (record.http_method.as_str(), record.status, record.method.as_str()),
        ("POST", 200, "tools/call")
    );
    assert_eq!((record.target.as_str(), record.name.as_str(), record.code), ("beta", "beta_echo", None));
    assert_eq!((record.received, record.error.as_str()), (call("beta_echo").len() as u64, ""));
    assert_eq!(
        (record.duration, record.target_duration),
        (Duration::from_millis(30), Some(Duration::from_millis(30)))
    );
    assert_eq!(record.sent, world.clients[client].answer().body.len() as u64);
    world.ask(client, &session, &request("tools/list", "{}"));
    world.advance(Duration::from_secs(1));
    assert_eq!(world.records.last().unwrap().target, "alpha,beta");
}

#[test]
fn only_failures_are_logged_by_default() {
    for (log, lines) in
        [(mcp_proto::AccessLog::Off, 0), (mcp_proto::AccessLog::Errors, 2), (mcp_proto::AccessLog::All, 5)]
    {
        let mut world = Setup::new(&["alpha"]).config(|config| config.access_log = log).build();
        let (client, session) = world.begin();
        world.ask(client, &session, &call("echo"));
        world.ask(client, "x", &call("echo"));
        send(&mut world, client, "nonsense\r\n\r\n");
        assert_eq!(world.records.len(), lines);
    }
}
