//! Plain HTTP services: what a client sends arrives as it is, and so does what comes back.

mod ends;
mod random;

use crate::support::client::{call, initialize, post};
use crate::support::server::{Reply, Seen, chunk, reply};
use crate::support::{AT, Answer, End, Setup, Step, World};
use mcp_proto::{Fault, MetricKind};
use routing::{
    Backend, Entry, HeaderEdits, HostMatch, Listener, Match, PathEdit, PathMatch, Port, Routes, Rule, Target,
};
use std::sync::Arc;
use std::time::Duration;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n";
const POST: &[u8] = b"POST /a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi";

/// A gateway before a service called `web` at two addresses.
fn world(change: impl Fn(&mut Target, &mut Rule)) -> World {
    let mut world = Setup::new(&["web", "spare"]).build();
    world.reroute(routes(change));
    world
}

/// All requests below `/` are the service's.
fn routes(change: impl Fn(&mut Target, &mut Rule)) -> Routes {
    let mut target = crate::support::setup::target("web", 0);
    target.endpoints.push(crate::support::setup::target("spare", 1).endpoints[0]);
    let mut rule = Rule::to("shop/all/0", Arc::default());
    change(&mut target, &mut rule);
    let backend = Arc::new(Backend::http("service/shop/web:80".into(), target));
    rule.answer = Rule::to("", backend).answer;
    let on = match &rule.rewrite.path {
        Some(PathEdit::Prefix { matched, .. }) => {
            Match { path: PathMatch::Prefix(matched.clone()), ..Match::default() }
        }
        _ => Match::default(),
    };
    let entry = Entry { host: HostMatch::Any, on, rule: Arc::new(rule) };
    Routes::at([(AT, Port::new(vec![Listener::new(HostMatch::Any, vec![entry])]))].into())
}

fn plain() -> World {
    world(|target, _| target.endpoints.truncate(1))
}

/// Answers every request with these bytes.
fn answers(world: &mut World, text: &str) {
    let text = text.to_owned();
    script(world, move |_| vec![Step::Send(text.clone().into()), Step::Done]);
}

fn script(world: &mut World, mut reply: impl FnMut(&Seen) -> Reply + 'static) {
    world.server("web").script = Some(Box::new(move |seen| Some(reply(seen))));
}

fn ask(world: &mut World, text: &[u8]) -> Answer {
    let client = world.connect(0);
    world.send(client, text);
    world.clients[client].answer()
}

/// What a client of its own gets for it, byte for byte, and whether its connection is still open.
fn raw(world: &mut World, text: &[u8]) -> (String, bool) {
    let client = world.connect(0);
    world.send(client, text);
    let client = &world.clients[client];
    (String::from_utf8(client.raw.clone()).unwrap(), client.end.is_none())
}

fn seen_raw(world: &mut World) -> String {
    String::from_utf8(std::mem::take(&mut world.server("web").raw)).unwrap()
}

fn via(world: &mut World) -> String {
    ask(world, GET);
    seen_raw(world).lines().find(|line| line.starts_with("via: ")).unwrap().to_owned()
}

#[test]
fn every_method_and_target_passes_as_it_is() {
    let mut world = plain();
    answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "get"] {
        for place in ["/", "/a%20b/../c//", "/mcp?sessionId=a", "/sse", "/x?", "/x?a=b?c&%zz=\"<>"] {
            let text = format!("{method} {place} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            assert_eq!(ask(&mut world, text.as_bytes()).status, 200);
            assert_eq!(seen_raw(&mut world).lines().next(), Some(&*format!("{method} {place} HTTP/1.1")));
        }
    }
    ask(&mut world, b"GET http://localhost:9?q HTTP/1.1\r\nhost: other\r\n\r\n");
    assert!(seen_raw(&mut world).starts_with("GET /?q HTTP/1.1\r\nhost: localhost:9\r\n"));
    ask(&mut world, b"CONNECT localhost:9 HTTP/1.1\r\nhost: localhost:9\r\n\r\n");
    assert_eq!(seen_raw(&mut world), "");
}

#[test]
fn fields_of_a_request_pass_but_for_those_of_its_connection() {
    let mut world = plain();
    let via = via(&mut world);
    let text = "POST /a HTTP/1.1\r\nX-B: 2\r\nConnection: close, X-Hop\r\nHost: localhost:80\r\nx-hop: 1\r\n\
         Accept: text/html;q=0.1\r\nX-b:\t1 \r\nTE: trailers\r\nKeep-Alive: timeout=1\r\nExpect: 100-continue\r\n\
         Cookie: a=b; c\r\nProxy-Connection: close\r\nContent-Length: 3\r\nTrailer: x\r\nVia: 1.0 before\r\n\
         X-Forwarded-For: 10.1.1.1\r\nx-empty: \r\nX-Forwarded-For: 10.2.2.2\r\nX-Forwarded-Proto: https\r\n\
         Mcp-Session-Id: x\r\nMCP-Protocol-Version: 2026-07-28\r\nOrigin: http://other.example\r\n\r\nabc";
    let (got, _) = raw(&mut world, text.as_bytes());
    assert!(got.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 "));
    assert_eq!(
        seen_raw(&mut world),
        format!(
            "POST /a HTTP/1.1\r\nhost: localhost:80\r\nX-B: 2\r\nAccept: text/html;q=0.1\r\nX-b: 1\r\n\
             Cookie: a=b; c\r\nContent-Length: 3\r\nVia: 1.0 before\r\nx-empty: \r\nX-Forwarded-Proto: https\r\n\
             Mcp-Session-Id: x\r\nMCP-Protocol-Version: 2026-07-28\r\nOrigin: http://other.example\r\n\
             x-forwarded-for: 10.1.1.1, 10.2.2.2, 127.0.0.1\r\n{via}\r\n\r\nabc"
        )
    );
    ask(&mut world, GET);
    assert_eq!(
        seen_raw(&mut world),
        format!(
            "GET /a HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n{via}\r\n\r\n"
        )
    );
    // HTTP/1.0 may leave out whom it means.
    let mut world = Setup::new(&["web"]).config(|config| config.allowed_hosts.push("*".to_owned())).build();
    world.reroute(routes(|target, _| {
        target.endpoints.truncate(1);
        target.authority = "web.shop".to_owned();
        target.headers.push(("x-own".to_owned(), "1".to_owned()));
    }));
    for (line, host) in [("", "web.shop"), ("Host: a\r\n", "a")] {
        ask(&mut world, format!("GET /a HTTP/1.0\r\n{line}\r\n").as_bytes());
        let seen = seen_raw(&mut world);
        assert!(seen.starts_with(&format!("GET /a HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for")));
        assert!(seen.ends_with("\r\nx-own: 1\r\n\r\n"), "{seen}");
    }
}

#[test]
fn bodies_of_requests_are_put_together() {
    let mut world = plain();
    let large = "x".repeat(1 << 20);
    for (text, body) in [
        ("transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx: y\r\n\r\n".to_owned(), "abc"),
        ("transfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), ""),
        ("content-length: 0\r\n\r\n".to_owned(), ""),
        (format!("content-length: {}\r\n\r\n{large}", 1 << 20), &large),
    ] {
        for method in ["PUT", "GET", "BREW"] {
            let client = world.connect(0);
            world.send(client, format!("{method} / HTTP/1.1\r\nhost: localhost\r\n{text}").as_bytes());
            let seen = world.server("web").seen.last().unwrap().clone();
            assert_eq!((seen.http.as_str(), seen.body == body), (method, true));
            assert_eq!(seen.field("content-length"), Some(&*body.len().to_string()));
            assert_eq!(seen.field("transfer-encoding"), None);
        }
    }
    let too_large = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 5 << 20);
    assert_eq!(ask(&mut world, too_large.as_bytes()).status, 413);
}

#[test]
fn answers_keep_their_fields_and_get_the_framing_that_fits() {
    let fields = "Server: x\r\nSet-Cookie: a\r\nX-A: \r\nSet-Cookie: b\r\nDate: now\r\n";
    let hops = "Keep-Alive: timeout=9\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n";
    let get = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let kept = "GET / HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nx-trailer: y\r\n\r\n";
    for (request, status, framed, expected, open) in [
        (get, "200 OK", "Content-Length: 3\r\n\r\nabc", "Content-Length: 3\r\n\r\nabc", true),
        (get, "404 Not Found", "content-length: 0\r\n\r\n", "content-length: 0\r\n\r\n", true),
        (
            last,
            "200 OK",
            "Content-Length: 1\r\n\r\na",
            "Content-Length: 1\r\nconnection: close\r\n\r\na",
            false,
        ),
        (
            kept,
            "200 OK",
            "content-length: 1\r\n\r\na",
            "content-length: 1\r\nconnection: keep-alive\r\n\r\na",
            true,
        ),
        (get, "200 OK", chunks, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", true),
        (old, "200 OK", chunks, "connection: close\r\n\r\nabcde", false),
        (kept, "200 OK", chunks, "connection: close\r\n\r\nabcde", false),
        (get, "204 No Content", "\r\n", "\r\n", true),
        (get, "204 No Content", "Content-Length: 5\r\n\r\n", "\r\n", true),
        (get, "304 Not Modified", "Content-Length: 5\r\n\r\n", "Content-Length: 5\r\n\r\n", true),
        (head, "200 OK", "Content-Length: 5\r\n\r\n", "Content-Length: 5\r\n\r\n", true),
        (head, "200 OK", "Transfer-Encoding: chunked\r\n\r\n", "\r\n", true),
        (head, "404 Not Found", "\r\n", "\r\n", true),
        (get, "599 ", "content-length: 0\r\n\r\n", "content-length: 0\r\n\r\n", true),
    ] {
        let mut world = plain();
        answers(&mut world, &format!("HTTP/1.1 {status}\r\n{fields}{hops}{framed}"));
        let expected = (format!("HTTP/1.1 {status}\r\n{fields}{expected}"), open);
        assert_eq!(raw(&mut world, request.as_bytes()), expected, "{request}");
        assert_eq!(world.counters(0).calls.value(), 0);
    }
}

#[test]
fn an_answer_may_end_with_its_connection() {
    for (request, framing, body, open) in [
        ("GET / HTTP/1.1", "transfer-encoding: chunked\r\n\r\n", "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", true),
        ("GET / HTTP/1.0", "connection: close\r\n\r\n", "abc", false),
    ] {
        let mut world = plain();
        let steps = |text: &str| Step::Send(text.into());
        script(&mut world, move |_| {
            let wait = Step::Wait(Duration::from_secs(1));
            vec![steps("HTTP/1.1 200 OK\r\nx: y\r\n\r\nab"), wait.clone(), steps("c"), wait, Step::Fin]
        });
        let client = world.connect(0);
        world.send(client, format!("{request}\r\nhost: localhost\r\n\r\n").as_bytes());
        world.advance(Duration::from_secs(1));
        assert!(world.clients[client].end.is_none(), "it is not known to be complete");
        world.advance(Duration::from_secs(1));
        let got = String::from_utf8(world.clients[client].raw.clone()).unwrap();
        assert_eq!(got, format!("HTTP/1.1 200 OK\r\nx: y\r\n{framing}{body}"));
        assert_eq!(world.clients[client].end, (!open).then_some(End::Finished));
        assert_eq!(world.connections("web").len(), 0);
    }
}

#[test]
fn interim_answers_are_skipped() {
    let mut world = plain();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    answers(&mut world, &format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"));
    assert_eq!(raw(&mut world, GET).0, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na");
    answers(&mut world, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
    assert_eq!(ask(&mut world, GET).status, 502);
}

#[test]
fn a_body_is_asked_for_once() {
    let mut world = plain();
    answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let client = world.connect(0);
    world.send(
        client,
        b"PUT / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    );
    assert_eq!(world.clients[client].raw, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(seen_raw(&mut world), "");
    world.send(client, b"ab");
    assert_eq!(world.clients[client].answer().status, 200);
    let seen = seen_raw(&mut world);
    assert!(seen.ends_with("\r\n\r\nab") && !seen.contains("expect"), "{seen}");
    let other = b"PUT / HTTP/1.1\r\nhost: localhost\r\nexpect: more\r\ncontent-length: 2\r\n\r\nab";
    assert_eq!(ask(&mut world, other).status, 417);
}

#[test]
fn connections_to_the_service_are_used_again() {
    let mut world = plain();
    answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na");
    for _ in 0..3 {
        assert_eq!(ask(&mut world, POST).text(), "a");
        assert_eq!(ask(&mut world, b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").status, 200);
        answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na");
        script(&mut world, |seen| {
            let body = if seen.http == "HEAD" { "" } else { "a" };
            vec![Step::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}").into()), Step::Done]
        });
    }
    assert!(world.counters(0).target_connections_total.value() <= 2);
    script(&mut world, |_| reply(200, "connection: close\r\n", "a"));
    assert_eq!(ask(&mut world, GET).text(), "a");
    assert_eq!(world.connections("web").len(), 0, "it said that it closes");
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let mut world = plain();
    let mut number = 0;
    script(&mut world, move |seen| {
        number += 1;
        let mut steps = reply(200, "", &format!("{number} {} {}", seen.path, seen.body));
        steps.insert(0, Step::Wait(Duration::from_secs(4 - number)));
        steps
    });
    let client = world.connect(0);
    let text = [
        &b"GET /1 HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"POST /2 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc",
        b"BREW /3 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    world.send(client, &text.concat());
    world.advance(Duration::from_secs(10));
    let bodies: Vec<_> =
        world.clients[client].answers().iter().map(|answer| answer.text().to_owned()).collect();
    assert_eq!(bodies, ["1 /1 ", "2 /2 abc", "3 /3 "]);
}

#[test]
fn a_change_of_protocol_is_refused_and_an_offer_ignored() {
    let mut world = plain();
    answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    let socket =
        with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    let answer = ask(&mut world, socket.as_bytes());
    assert_eq!(
        (answer.status, answer.text()),
        (501, "connections that change their protocol (Upgrade, as of WebSocket) are not passed on")
    );
    assert_eq!(seen_raw(&mut world), "");
    let old = socket.replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(ask(&mut world, old.as_bytes()).status, 200);
    assert!(!seen_raw(&mut world).contains("websocket"));
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ] {
        assert_eq!(ask(&mut world, with(fields).as_bytes()).status, 200, "{fields}");
        let seen = seen_raw(&mut world).to_ascii_lowercase();
        assert!(!seen.contains("upgrade") && !seen.contains("settings"), "{seen}");
    }
}

#[test]
fn who_may_ask_is_checked_and_from_which_page_is_not() {
    let mut world = plain();
    answers(&mut world, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let via = via(&mut world);
    for (fields, status) in [
        ("host: other.example\r\n", 403),
        (&*format!("host: localhost\r\n{via}\r\n"), 508),
        ("host: localhost\r\norigin: http://other.example\r\n", 200),
    ] {
        let answer = ask(&mut world, format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (status, None));
    }
    world.server("web").refuses = Some(Some(Fault::Refused));
    world.kill("web");
    let answer =
        ask(&mut world, b"GET / HTTP/1.1\r\nhost: localhost\r\norigin: http://other.example\r\n\r\n");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (502, None));
}

#[test]
fn messages_of_mcp_are_nothing_special() {
    let mut world = plain();
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}"#;
    script(&mut world, move |_| reply(200, "content-type: application/json\r\n", body));
    for message in [initialize("2025-11-25", "{}"), call("echo"), "{".to_owned(), "[]".to_owned()] {
        let answer = ask(&mut world, &post("", &message));
        assert_eq!((answer.text(), answer.field("mcp-session-id")), (body, None));
        assert_eq!(world.server("web").seen.last().unwrap().body, message);
    }
    assert_eq!(world.server("web").seen.len(), 4, "nobody asked for more");
    let record = world.records.pop().unwrap();
    assert_eq!((record.method.as_str(), record.name.as_str()), ("", ""));
}

#[test]
fn an_mcp_backend_is_as_strict_as_ever() {
    let mut world = World::new(&["alpha"]);
    for (line, status) in
        [("BREW /mcp", 501), ("get /mcp", 501), ("PUT /mcp", 405), ("TRACE /mcp", 405), ("BREW /x", 404)]
    {
        let text = format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(ask(&mut world, text.as_bytes()).status, status, "{line}");
    }
    let other = b"POST /x HTTP/1.1\r\nhost: localhost\r\norigin: http://other.example\r\n\r\n";
    assert_eq!(ask(&mut world, other).status, 403);
}

#[test]
fn a_slow_reader_of_a_long_answer_stops_the_service() {
    for chunked in [false, true] {
        let mut world = plain();
        script(&mut world, move |_| {
            let piece = "y".repeat(32 << 10);
            let head = if chunked { "transfer-encoding: chunked" } else { "content-length: 1048576" };
            let mut steps = vec![Step::Send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into())];
            steps.extend((0..32).map(|_| {
                Step::Send(if chunked { chunk(&piece).into() } else { piece.clone().into_bytes() })
            }));
            steps.extend([Step::Send(if chunked { b"0\r\n\r\n".to_vec() } else { Vec::new() }), Step::Done]);
            steps
        });
        let client = world.connect(0);
        world.clients[client].window = 1000;
        world.send(client, GET);
        let mut paused = 0;
        while world.clients[client].window == 0 {
            paused += world.connections("web").iter().filter(|key| world.is_paused(**key)).count();
            world.take(client, 10_000);
        }
        assert!(paused > 20, "{paused}");
        let answer = world.clients[client].answer();
        assert!(
            answer.complete && answer.body.len() == 1 << 20 && answer.body.iter().all(|byte| *byte == b'y')
        );
        // What a read brings on top of what may wait.
        assert!(world.most_unsent <= (64 << 10) + (64 << 10) + 1000, "{}", world.most_unsent);
        assert_eq!(world.connections("web").len(), 1);
    }
}

#[test]
fn a_rule_edits_fields_host_and_path() {
    let edits = |prefix: &str| HeaderEdits {
        set: vec![(format!("{prefix}-set"), "new".into()), ("content-length".into(), "99".into())],
        add: vec![(format!("{prefix}-add"), "more".into())],
        remove: vec![format!("{prefix}-remove"), "content-length".into()],
    };
    let mut world = world(|target, rule| {
        target.endpoints.truncate(1);
        rule.request_headers = edits("q");
        rule.response_headers = edits("a");
        rule.rewrite.host = Some("inner.example".into());
        rule.rewrite.path = Some(PathEdit::Prefix { matched: "/shop".into(), by: "/v2".into() });
    });
    answers(
        &mut world,
        "HTTP/1.1 200 OK\r\nA-Set: 1\r\na-add: 1\r\na-keep: 1\r\nA-Remove: 1\r\nA-Set: 2\r\ncontent-length: 2\r\n\r\nok",
    );
    let text = "POST /shop/cart?x=/shop HTTP/1.1\r\nHost: localhost\r\nQ-Set: 1\r\nq-add: 1\r\nQ-Remove: 1\r\nq-keep: 1\r\n\
         Q-set: 2\r\nContent-Length: 2\r\n\r\nhi";
    let (got, _) = raw(&mut world, text.as_bytes());
    assert_eq!(
        got,
        "HTTP/1.1 200 OK\r\na-add: 1\r\na-keep: 1\r\ncontent-length: 2\r\na-set: new\r\na-add: more\r\n\r\nok"
    );
    let seen = seen_raw(&mut world);
    assert!(
        seen.starts_with(
            "POST /v2/cart?x=/shop HTTP/1.1\r\nhost: inner.example\r\nq-add: 1\r\nq-keep: 1\r\n\
             Content-Length: 2\r\nq-set: new\r\nq-add: more\r\nx-forwarded-for"
        ),
        "{seen}"
    );
    assert_eq!(ask(&mut world, GET).status, 404, "the rule is for another path");
}

#[test]
fn the_log_tells_of_it() {
    let mut world = plain();
    script(&mut world, |_| [vec![Step::Wait(Duration::from_secs(2))], reply(201, "", "three")].concat());
    let client = world.connect(0);
    world.send(client, b"BREW /a/b?c HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi");
    world.advance(Duration::from_secs(2));
    let record = world.records.pop().unwrap();
    assert_eq!((record.http_method.as_str(), record.route.as_str(), record.status), ("BREW", "/a/b", 201));
    assert_eq!((record.rule.as_str(), record.backend.as_str()), ("shop/all/0", "service/shop/web:80"));
    assert_eq!((record.target.as_str(), record.error.as_str(), record.code), ("web", "", None));
    assert_eq!((record.received, record.sent), (2, 5));
    assert_eq!(
        (record.duration, record.target_duration),
        (Duration::from_secs(2), Some(Duration::from_secs(2)))
    );
    let failed = world.counters(0).each().find(|metric| metric.name.contains("requests_failed")).unwrap();
    assert_eq!((failed.kind, failed.value), (MetricKind::Counter, 0));
}
