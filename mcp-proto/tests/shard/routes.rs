//! Many backends: which one a request is for, and that none knows anything of another.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post, request, session_field};
use crate::support::modern::Ask;
use crate::support::parking::{ACCEPT, FORM, key, said};
use crate::support::routed::{at, backend, on, placed, port, routes, shared, to, world};
use crate::support::{AT, Answer, Setup, World};
use routing::{Answer as Answered, Backend, PathMatch, Protocol, Routes, Rule, Share};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Two backends of targets with the same names.
fn twins() -> (Arc<Backend>, Arc<Backend>) {
    (backend("ns/one", &["alpha", "beta"], 0), backend("ns/two", &["alpha", "beta"], 2))
}

/// Each at a host of its own.
fn on_hosts(shards: u16) -> World {
    let (one, two) = twins();
    world(vec![at("one.example", "/", to("r/1", &one)), at("two.example", "/", to("r/2", &two))], shards)
}

fn modern(protocol: Protocol, backend: &Backend) -> Arc<Backend> {
    let targets = backend.targets().iter();
    let targets = targets.map(|target| routing::Target { protocol, ..routing::Target::clone(target) });
    Arc::new(Backend::mcp(backend.name().clone(), targets.collect()).unwrap())
}

fn tools(answer: &Answer) -> Vec<String> {
    let tools =
        answer.json()["result"]["tools"].as_array().unwrap_or_else(|| panic!("{}", answer.text())).clone();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn backends_on_two_hosts_stay_apart_though_their_targets_are_called_the_same() {
    let mut world = on_hosts(1);
    world.server("ns/one/alpha").lists.insert("tools", vec!["first".to_owned()]);
    world.server("ns/two/alpha").lists.insert("tools", vec!["second".to_owned()]);
    for (place, server, other, tool) in [
        ("one.example/mcp", "ns/one/alpha", "ns/two/alpha", "first"),
        ("two.example:8080/mcp", "ns/two/alpha", "ns/one/alpha", "second"),
    ] {
        let session = world.begin_at(place);
        let listed = world.ask_in(0, place, &session, &request("tools/list", "{}"));
        assert_eq!(tools(&listed), [&format!("alpha_{tool}"), "beta_echo", "beta_add"]);
        let before = world.server(other).seen.len();
        let answer = world.ask_in(0, place, &session, &call("alpha_echo"));
        assert_eq!(answer.tool_text(), format!("{server}:echo"));
        // A plain name is found among the backend's own.
        assert_eq!(world.ask_in(0, place, &session, &call(tool)).tool_text(), format!("{server}:{tool}"));
        assert_eq!(world.server(other).seen.len(), before, "the other backend hears nothing of it");
    }
    let unknown = {
        let session = world.begin_at("one.example/mcp");
        world.ask_in(0, "one.example/mcp", &session, &call("second"))
    };
    assert_eq!(unknown.json()["error"]["message"], "unknown tool: second");
}

#[test]
fn a_session_of_one_backend_is_not_found_at_another() {
    let mut world = on_hosts(2);
    let session = world.begin_at("one.example/mcp");
    for shard in [0, 1] {
        let client = world.connect(shard);
        let ask = post(&session_field(&session), &call("alpha_echo"));
        for (place, status) in [("one.example/mcp", 200), ("two.example/mcp", 404), ("one.example/mcp", 200)]
        {
            // On one connection, so that what it remembers of the session is no way around it.
            world.send(client, &placed(place, &ask));
            let answer = world.clients[client].answer();
            assert_eq!((answer.status, answer.complete), (status, true), "{place} on {shard}");
            if status == 404 {
                assert_eq!(answer.code(), Some(-32001));
            }
        }
        let listen = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n", session_field(&session));
        assert_eq!(world.ask_at(shard, "two.example/mcp", listen.as_bytes()).status, 404);
        let delete = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n", session_field(&session));
        assert_eq!(world.ask_at(shard, "two.example/mcp", delete.as_bytes()).status, 404);
    }
    assert_eq!(world.ask_in(1, "one.example/mcp", &session, &call("alpha_echo")).status, 200);
    assert_eq!(world.server("ns/two/alpha").seen.len(), 0);
}

#[test]
fn backends_at_two_paths_and_two_addresses_stay_apart() {
    let (one, two) = twins();
    let three = backend("ns/three", &["alpha"], 4);
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9090));
    let here = port(vec![at("", "/one", to("r/1", &one)), at("", "/two", to("r/2", &two))]);
    let there = port(vec![at("", "/one", to("r/3", &three))]);
    let mut world = Setup::serving(Routes::at([(AT, here), (elsewhere, there)].into())).build();
    let ask = Ask { name: "alpha_echo", ..Ask::call(1) }.text();
    for (at, place, server) in [
        (AT, "h/one", "ns/one/alpha"),
        (AT, "h/one/mcp", "ns/one/alpha"),
        (AT, "h/one/mcp/", "ns/one/alpha"),
        (AT, "h/two/mcp", "ns/two/alpha"),
        (elsewhere, "h/one/mcp", "ns/three/alpha"),
    ] {
        let answer = world.ask_to(at, 0, place, &ask);
        assert_eq!(answer.tool_text(), format!("{server}:echo"), "{place}");
        let record = world.records.last().unwrap();
        assert_eq!(
            (record.backend.as_str(), record.target.as_str()),
            (server.rsplit_once('/').unwrap().0, "alpha")
        );
    }
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9091));
    for (at, place) in [
        (AT, "h/"),
        (AT, "h/mcp"),
        (AT, "h/ones/mcp"),
        (AT, "h/one/else"),
        (elsewhere, "h/two/mcp"),
        (nowhere, "h/one/mcp"),
    ] {
        let answer = world.ask_to(at, 0, place, &ask);
        assert_eq!(answer.status, 404, "{place}");
        assert_eq!(answer.json()["error"]["message"], "nothing is served at this path", "{place}");
    }
}

#[test]
fn the_last_segment_of_an_exact_path_says_which_transport_is_meant() {
    let one = backend("one", &["alpha"], 0);
    let exact = |path: &str| on("", PathMatch::Exact(path.to_owned()), to("r", &one));
    let pattern = PathMatch::Regex(routing::Pattern::new("/x/[a-z]+").unwrap());
    let mut world = world(vec![exact("/tools"), exact("/old/sse"), on("", pattern, to("r", &one))], 1);
    let stream = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    for place in ["h/tools", "h/x/tools"] {
        assert_eq!(world.ask_at(0, place, &Ask::call(1).text()).tool_text(), "one/alpha:echo");
        assert_eq!(world.ask_at(0, place, stream).status, 400, "a session is wanted at {place}");
    }
    for place in ["h/old/sse", "h/x/sse"] {
        let events = world.ask_at(0, place, stream).events();
        let path = place.strip_prefix('h').unwrap();
        assert!(events[0].data.starts_with(&format!("{path}?sessionId=")), "{events:?}");
    }
    assert_eq!(world.ask_at(0, "h/tools/more", stream).status, 404);
}

/// How many of `count` calls at a place each server answers.
fn answered(world: &mut World, place: &str, servers: &[&str], count: usize) -> Vec<usize> {
    let before: Vec<_> = servers.iter().map(|server| world.server(server).ran.len()).collect();
    for _ in 0..count {
        assert_eq!(world.ask_at(0, place, &Ask::call(1).text()).status, 200);
    }
    let after = servers.iter().zip(before);
    after.map(|(server, before)| world.server(server).ran.len() - before).collect()
}

#[test]
fn requests_are_shared_by_weight() {
    let (one, two, none) =
        (backend("one", &["alpha"], 0), backend("two", &["alpha"], 1), backend("none", &["alpha"], 2));
    let rule = shared("r", &[(3, &one), (1, &two), (0, &none)]);
    let mut world = world(vec![at("", "/", rule)], 1);
    let servers = ["one/alpha", "two/alpha", "none/alpha"];
    let counts = answered(&mut world, "h/mcp", &servers, 400);
    assert_eq!((counts.iter().sum::<usize>(), counts[2]), (400, 0));
    // The same seed draws the same.
    assert_eq!(counts[..2], [310, 90]);
}

#[test]
fn a_session_stays_with_its_backend_whatever_the_weights_are() {
    let (one, two) = (backend("one", &["alpha"], 0), backend("two", &["alpha"], 1));
    let weighed =
        |weights: [u32; 2]| routes(vec![at("", "/", shared("r", &[(weights[0], &one), (weights[1], &two)]))]);
    let mut world = Setup::serving(weighed([1, 1])).shards(2).build();
    let sessions: Vec<_> = (0..8).map(|_| world.begin_at("h/mcp")).collect();
    let name = |world: &mut World, shard: usize, session: &str| {
        world.ask_in(shard, "h/mcp", session, &call("echo")).tool_text()
    };
    let at_first: Vec<_> = sessions.iter().map(|session| name(&mut world, 0, session)).collect();
    assert!(["one/alpha:echo", "two/alpha:echo"].iter().all(|it| at_first.iter().any(|text| text == it)));
    for weights in [[1, 9], [0, 1], [0, 0], [1, 0]] {
        world.reroute(weighed(weights));
        for (session, text) in sessions.iter().zip(&at_first) {
            for shard in [0, 1] {
                assert_eq!(name(&mut world, shard, session), *text, "{weights:?}");
            }
        }
    }
    // The other backend is no part of it any more.
    world.reroute(routes(vec![at("", "/", to("r", &one))]));
    for (session, text) in sessions.iter().zip(&at_first) {
        let status = world.ask_in(1, "h/mcp", session, &call("echo")).status;
        assert_eq!(status, if text.starts_with("one") { 200 } else { 404 });
    }
}

#[test]
fn what_a_stateless_client_brings_leads_to_its_backend() {
    let (one, two) = twins();
    let (one, two) = (modern(Protocol::Modern, &one), modern(Protocol::Modern, &two));
    let rule = shared("r", &[(1, &one), (1, &two)]);
    let mut world = world(vec![at("", "/", rule), at("", "/one", to("one", &one))], 1);
    for server in &mut world.servers {
        server.keeps_sessions = false;
        server.page = 1;
    }
    let page = |params: &str| {
        let text = Ask { method: "tools/list", params: params.to_owned(), ..Ask::call(1) }.text();
        String::from_utf8(text).unwrap()
    };
    let mut places = [0, 0];
    for _ in 0..8 {
        let first = world.ask_at(0, "h/mcp", page("").as_bytes());
        let from_one = world.records.last().unwrap().backend == "ns/one";
        places[usize::from(from_one)] += 1;
        let cursor = first.json()["result"]["nextCursor"].as_str().unwrap().to_owned();
        let params = format!(r#","cursor":"{cursor}""#);
        let second = world.ask_at(0, "h/mcp", page(&params).as_bytes());
        assert_eq!(tools(&second), ["alpha_add", "beta_add"]);
        assert_eq!(world.records.last().unwrap().backend, if from_one { "ns/one" } else { "ns/two" });
        // Where no rule leads to it, it is not found.
        let elsewhere = world.ask_at(0, "h/one/mcp", page(&params).as_bytes());
        match from_one {
            true => assert_eq!(tools(&elsewhere), ["alpha_add", "beta_add"]),
            false => assert_eq!(elsewhere.json()["error"]["message"], "unknown cursor"),
        }
    }
    assert!(places.iter().all(|count| *count > 0), "{places:?}");
}

#[test]
fn a_parked_call_is_found_at_its_backend_alone() {
    let mut world = on_hosts(2);
    world.server("ns/one/alpha").on("tools/call", |_| said(&[FORM]));
    let ask = Ask { name: "alpha_echo", ..Ask::call(1) };
    let asked = world.ask_at(0, "one.example/mcp", &ask.text());
    let (key, state) = (key(&asked), asked.state());
    let again = Ask { name: "alpha_echo", ..Ask::again(7, &state, &format!(r#"{{"{key}":{ACCEPT}}}"#)) };
    for shard in [0, 1] {
        let answer = world.ask_at(shard, "two.example/mcp", &again.text());
        assert_eq!(answer.json()["error"]["message"], "params.requestState is not known");
    }
    assert_eq!(world.server("ns/two/alpha").seen.len(), 0);
    let client = world.connect(1);
    world.send(client, &placed("one.example/mcp", &again.text()));
    let replies = |seen: &&crate::support::server::Seen| seen.http == "POST" && seen.method.is_empty();
    assert_eq!(
        world.server("ns/one/alpha").seen.iter().filter(replies).count(),
        1,
        "the target has its answer"
    );
}

#[test]
fn hidden_sessions_of_two_backends_are_two() {
    let mut world = on_hosts(1);
    let ask = Ask { name: "alpha_echo", capabilities: "{}", ..Ask::call(1) }.text();
    for place in ["one.example/mcp", "two.example/mcp", "one.example/mcp"] {
        let server = place.replace(".example/mcp", "");
        assert_eq!(world.ask_at(0, place, &ask).tool_text(), format!("ns/{server}/alpha:echo"));
    }
    for server in ["ns/one/alpha", "ns/two/alpha"] {
        assert_eq!(world.server(server).count("initialize"), 1);
    }
    assert_eq!(world.counters(0).sessions.value(), 2);
}

#[test]
fn a_stream_of_2024_belongs_to_its_backend_on_every_shard() {
    let (one, two) = twins();
    let entries = vec![at("", "/one", to("r/1", &one)), at("", "/two", to("r/2", &two))];
    let mut world = world(entries, 2);
    let get = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let client = world.connect(1);
    world.send(client, &placed("h/one/sse", get));
    let endpoint = world.clients[client].answer().events()[0].data.clone();
    assert!(endpoint.starts_with("/one/sse?sessionId="));
    for shard in [0, 1] {
        let other = endpoint.replacen("/one", "/two", 1);
        assert_eq!(world.post_to(shard, &other, &initialize("2024-11-05", "{}")).status, 404);
    }
    for (shard, body) in
        [(0, initialize("2024-11-05", EVERYTHING)), (1, INITIALIZED.to_owned()), (0, call("alpha_echo"))]
    {
        assert_eq!(world.post_to(shard, &endpoint, &body).status, 202);
    }
    let texts: Vec<_> =
        world.messages(client).iter().map(|it| it["result"]["content"][0]["text"].clone()).collect();
    assert_eq!(texts, [Value::Null, json!("ns/one/alpha:echo")]);
    assert_eq!(world.server("ns/two/alpha").seen.len(), 0);
    // By weight as well: what is posted goes where the stream is.
    world.reroute(routes(vec![at("", "/", shared("r", &[(1, &one), (99, &two)]))]));
    let moved = endpoint.replacen("/one", "", 1);
    for shard in [0, 1, 0, 1] {
        assert_eq!(world.post_to(shard, &moved, &call("alpha_echo")).status, 202);
    }
    assert_eq!(world.server("ns/two/alpha").seen.len(), 0);
    assert_eq!(world.server("ns/one/alpha").count("tools/call"), 5);
}

#[test]
fn an_attached_client_has_the_only_backend_or_the_one_without_a_name() {
    let (one, two) = (backend("one", &["alpha"], 0), backend("two", &["alpha"], 1));
    let unnamed = backend("", &["alpha"], 2);
    let served = |backends: &[&Arc<Backend>]| {
        let entry =
            |backend: &&Arc<Backend>| at(&format!("h{}.example", backend.name()), "/", to("r", backend));
        world(backends.iter().map(entry).collect(), 1)
    };
    let text = |world: &mut World| {
        let client = world.attach(0);
        for body in [initialize("2025-06-18", "{}"), INITIALIZED.to_owned(), call("echo")] {
            world.send(client, format!("{body}\n").as_bytes());
        }
        world.lines(client).last().unwrap().clone()
    };
    let called = |answer: &Value| answer["result"]["content"][0]["text"].clone();
    assert_eq!(called(&text(&mut served(&[&one]))), "one/alpha:echo");
    assert_eq!(called(&text(&mut served(&[&one, &two, &unnamed]))), "alpha:echo");
    let lost = text(&mut served(&[&one, &two]));
    assert_eq!(lost["error"]["message"], "unknown tool: echo");
}

#[test]
fn no_backend_is_an_error_of_the_gateways() {
    let one = backend("one", &["alpha"], 0);
    let rule = |answer| Rule { answer, ..to("r", &one) };
    let share = |weight, to: Result<&Arc<Backend>, &str>| Share {
        weight,
        to: to.map(Arc::clone).map_err(Into::into),
    };
    let mut world = world(
        vec![
            at("", "/unsupported", rule(Answered::Unsupported("the filter CORS is not supported".into()))),
            at("", "/lost", rule(Answered::Backends(vec![share(1, Err("no backend is called x"))]))),
            at("", "/weightless", rule(Answered::Backends(vec![share(0, Ok(&one))]))),
            at("", "/empty", rule(Answered::Backends(Vec::new()))),
        ],
        1,
    );
    for (path, reason) in [
        ("unsupported", "the filter CORS is not supported"),
        ("lost", "no backend is called x"),
        ("weightless", "no backend of this rule has weight"),
        ("empty", "no backend of this rule has weight"),
    ] {
        let answer = world.ask_at(0, &format!("h/{path}/mcp"), &Ask::call(1).text());
        assert_eq!((answer.status, answer.code()), (500, Some(-32603)));
        assert_eq!(answer.json()["error"]["message"], reason);
        let record = world.records.last().unwrap();
        assert_eq!((record.status, record.rule.as_str(), record.backend.as_str()), (500, "r", ""));
    }
}

#[test]
fn a_path_that_moves_takes_its_sessions_along() {
    let (one, two) = twins();
    let both = |first: &str, second: &str| {
        routes(vec![at("", first, to("r/1", &one)), at("", second, to("r/2", &two))])
    };
    let mut world = Setup::serving(both("/old", "/two")).shards(2).build();
    let session = world.begin_at("h/old/mcp");
    let seen = world.server("ns/one/alpha").seen.len();
    world.reroute(both("/new", "/old"));
    for shard in [0, 1] {
        // The place is another backend's now.
        assert_eq!(world.ask_in(shard, "h/old/mcp", &session, &call("alpha_echo")).status, 404);
        let answer = world.ask_in(shard, "h/new/mcp", &session, &call("alpha_echo"));
        assert_eq!(answer.tool_text(), "ns/one/alpha:echo");
    }
    assert_eq!(world.server("ns/one/alpha").seen.len(), seen + 2, "its session at the target is the same");
}

#[test]
fn a_backend_that_goes_ends_nothing_but_its_own() {
    let (one, two) = twins();
    let entry = |path: &str, backend| at("", path, to("r", backend));
    let mut world = world(vec![entry("/one", &one), entry("/two", &two)], 1);
    let sessions = [world.begin_at("h/one/mcp"), world.begin_at("h/two/mcp")];
    let listen = |world: &mut World, place: &str, session: &str| {
        let client = world.connect(0);
        let head = format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{}\r\n",
            session_field(session)
        );
        world.send(client, &placed(place, head.as_bytes()));
        client
    };
    let ears = [listen(&mut world, "h/one/mcp", &sessions[0]), listen(&mut world, "h/two/mcp", &sessions[1])];
    world.reroute(routes(vec![entry("/two", &two)]));
    assert_eq!(world.ask_in(0, "h/one/mcp", &sessions[0], &call("alpha_echo")).status, 404);
    assert_eq!(world.ask_in(0, "h/two/mcp", &sessions[0], &call("alpha_echo")).status, 404);
    assert_eq!(
        world.ask_in(0, "h/two/mcp", &sessions[1], &call("alpha_echo")).tool_text(),
        "ns/two/alpha:echo"
    );
    world.advance(Duration::from_secs(1));
    assert_eq!(world.methods(ears[1]), [""; 0], "nothing of its own has changed");
    let told = world.methods(ears[0]);
    assert!(told.contains(&"notifications/tools/list_changed".to_owned()), "{told:?}");
    // It comes back, and with it its sessions.
    world.reroute(routes(vec![entry("/one", &one), entry("/two", &two)]));
    assert_eq!(
        world.ask_in(0, "h/one/mcp", &sessions[0], &call("alpha_echo")).tool_text(),
        "ns/one/alpha:echo"
    );
    assert_eq!(world.methods(ears[1]), [""; 0]);
}

#[test]
fn sessions_follow_the_targets_of_their_own_backend() {
    let (one, two) = twins();
    let entry = |path: &str, backend| at("", path, to("r", backend));
    let mut world = world(vec![entry("/one", &one), entry("/two", &two)], 1);
    let sessions = [world.begin_at("h/one/mcp"), world.begin_at("h/two/mcp")];
    // One target is left, so nothing is renamed there any more.
    let fewer = backend("ns/one", &["alpha"], 0);
    world.reroute(routes(vec![entry("/one", &fewer), entry("/two", &two)]));
    let list = |world: &mut World, place: &str, session: &str| {
        tools(&world.ask_in(0, place, session, &request("tools/list", "{}")))
    };
    assert_eq!(list(&mut world, "h/one/mcp", &sessions[0]), ["echo", "add"]);
    assert_eq!(
        list(&mut world, "h/two/mcp", &sessions[1]),
        ["alpha_echo", "alpha_add", "beta_echo", "beta_add"]
    );
    assert_eq!(
        world.ask_in(0, "h/one/mcp", &sessions[0], &call("alpha_echo")).tool_text(),
        "ns/one/alpha:echo"
    );
}
