//! What differs between the eras goes into a message and out of it, and everything else stays.
#![cfg(test)]

use mcp_proto::jsonrpc::envelope::Envelope;
use mcp_proto::jsonrpc::members::members;
use mcp_proto::jsonrpc::params::{Filter, InputRequest, InputRequired, dropped, edited, handshake, meta};
use mcp_proto::jsonrpc::params::{with_meta, without};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::ops::Range;

fn parse(message: &str) -> Envelope<'_> {
    Envelope::parse(message.as_bytes(), 64).unwrap_or_else(|invalid| panic!("{message}: {invalid}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn meta_goes_in_wherever_there_is_room() {
    for (params, expected) in [
        (r#""params":{}"#, r#""params":{"_meta":{"k":1,"l":2}}"#),
        (r#""params" : { } "#, r#""params" : {"_meta":{"k":1,"l":2} } "#),
        (r#""params":{"a":1}"#, r#""params":{"_meta":{"k":1,"l":2},"a":1}"#),
        (r#""params":{"a":1,"_meta":{}}"#, r#""params":{"a":1,"_meta":{"k":1,"l":2}}"#),
        (r#""params":{"_meta": {	} ,"a":1}"#, r#""params":{"_meta": {"k":1,"l":2	} ,"a":1}"#),
        (r#""params":{"_meta":{"x":[{}]},"a":1}"#, r#""params":{"_meta":{"k":1,"l":2,"x":[{}]},"a":1}"#),
        (r#""params":{"_meta":null}"#, r#""params":{"_meta":{"k":1,"l":2}}"#),
        (r#""params":{"_meta":"}","a":1}"#, r#""params":{"_meta":{"k":1,"l":2},"a":1}"#),
        (r#""params":{"_meta":[{}] }"#, r#""params":{"_meta":{"k":1,"l":2} }"#),
    ] {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,{params},"method":"m"}}"#);
        let out = with_meta(message.as_bytes(), &parse(&message), br#""k":1,"l":2"#);
        assert_eq!(text(out), message.replace(params, expected));
    }
    let message = "{\"jsonrpc\":\"2.0\",\"method\":\"}\",\"x\":{} } \n";
    let out = with_meta(message.as_bytes(), &parse(message), br#""k":1"#);
    assert_eq!(
        text(out),
        "{\"jsonrpc\":\"2.0\",\"method\":\"}\",\"x\":{} ,\"params\":{\"_meta\":{\"k\":1}}} \n"
    );
}

/// Drops the members with these values, which occur once each.
fn drop_values(message: &str, values: &[&str]) -> String {
    let spans = values.iter().map(|value| {
        let start = message.find(value).unwrap();
        start..start + value.len()
    });
    text(without(message.as_bytes(), spans.collect()))
}

#[test]
fn members_leave_with_their_commas() {
    for (message, values, expected) in [
        (r#"{"a":11}"#, &["11"][..], "{}"),
        (r#"{ "a" : 11 }"#, &["11"], "{  }"),
        (r#"{"a":11,"b":22,"c":33}"#, &["11"], r#"{"b":22,"c":33}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["22"], r#"{"a":11,"c":33}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["33"], r#"{"a":11,"b":22}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["22", "11"], r#"{"c":33}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["22", "33"], r#"{"a":11}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["11", "33"], r#"{"b":22}"#),
        (r#"{"a":11,"b":22,"c":33}"#, &["11", "22", "33"], "{}"),
        (r#"{ "a" : 11 , "b" : 22 , "c" : 33 }"#, &["11", "33"], r#"{  "b" : 22  }"#),
        (r#"{"a":{"x":11,"y":22},"b":33}"#, &["11", "33"], r#"{"a":{"y":22}}"#),
        (r#"{"a":{"x":11},"b":33,"c":44}"#, &["11", "33"], r#"{"a":{},"c":44}"#),
        (r#"{"b":33,"a":{"x":11},"c":44}"#, &["11", "33"], r#"{"a":{},"c":44}"#),
        (r#"{"a":{"x":55},"b\"\\":{"x":11},"\\":44}"#, &[r#"{"x":11}"#, "44"], r#"{"a":{"x":55}}"#),
    ] {
        assert_eq!(drop_values(message, values), expected, "{message} without {values:?}");
    }
}

#[test]
fn a_modern_request_becomes_a_legacy_one() {
    let keys =
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"#;
    let more =
        r#""io.modelcontextprotocol/clientCapabilities":{"a":{}},"io.modelcontextprotocol/logLevel":"info""#;
    for (params, expected) in [
        (format!(r#"{{"_meta":{{{keys}{more}}}}}"#), "{}"),
        (format!(r#"{{"_meta":{{ {more} }},"name":"a"}}"#), r#"{"name":"a"}"#),
        (format!(r#"{{"name":"a","_meta":{{{keys}"x":1,{more}}}}}"#), r#"{"name":"a","_meta":{"x":1}}"#),
        (
            format!(
                r#"{{"requestState":"s","inputResponses":{{}},"name":"a","_meta":{{"progressToken":1,{more}}}}}"#
            ),
            r#"{"name":"a","_meta":{"progressToken":1}}"#,
        ),
        (
            format!(r#"{{"name":"a","_meta":{{{more}}},"requestState":"s","inputResponses":{{}}}}"#),
            r#"{"name":"a"}"#,
        ),
        (r#"{"name":"a","_meta":{}}"#.into(), r#"{"name":"a","_meta":{}}"#),
        (r#"{"name":"a","_meta":7}"#.into(), r#"{"name":"a","_meta":7}"#),
    ] {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
        let envelope = parse(&message);
        let mut values = handshake(message.as_bytes(), &envelope);
        values.extend(envelope.params.request_state.clone());
        values.extend(envelope.params.input_responses.clone());
        assert_eq!(text(without(message.as_bytes(), values)), message.replace(&params, expected));
    }
}

#[test]
fn edits_of_several_kinds_go_together() {
    let message =
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","requestState":"s","_meta":{"x":1}}}"#;
    let envelope = parse(message);
    let params = &envelope.params;
    let mut edits = vec![meta(message.as_bytes(), &envelope, br#""k":1"#)];
    edits.extend(dropped(message.as_bytes(), vec![params.request_state.clone().unwrap()]));
    edits.push((params.name.clone().unwrap().span, br#""b""#.to_vec()));
    assert_eq!(
        text(edited(message.as_bytes(), edits)),
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"b","_meta":{"k":1,"x":1}}}"#
    );
}

#[test]
fn members_are_told_in_order() {
    let raw = br#" { "a" : [1] ,"\u0062":"x","a":{"a":1} , "\ud800":null } "#;
    let found = members(raw).unwrap();
    let found: Vec<(&[u8], &[u8])> =
        found.iter().map(|member| (member.key.as_slice(), &raw[member.span.clone()])).collect();
    let expected: [(&[u8], &[u8]); 4] =
        [(b"a", b"[1]"), (b"b", br#""x""#), (b"a", br#"{"a":1}"#), (b"\xed\xa0\x80", b"null")];
    assert_eq!(found, expected);
    assert_eq!(members(b"{}"), Some(vec![]));
    for raw in [&b"[]"[..], b"1", b"", b"{", b"{}{}", b"{\"a\":\"\xff\"}", b"\"{\""] {
        assert_eq!(members(raw), None);
    }
}

fn written(filter: &Filter) -> String {
    let mut out = Vec::new();
    filter.write(&mut out);
    text(out)
}

#[test]
fn filters_are_read_and_written() {
    let raw = r#"{ "x":{"y": 1.0}, "toolsListChanged" : true,"promptsListChanged":false,"resourcesListChanged":null,
        "resourceSubscriptions":["a:\u0031","b"],"taskIds":["t"]}"#;
    let filter = Filter::parse(raw.as_bytes()).unwrap();
    let expected = Filter {
        tools: true,
        uris: vec!["a:1".into(), "b".into()],
        task_ids: vec!["t".into()],
        unknown: vec![("x".into(), br#"{"y": 1.0}"#.to_vec())],
        ..Filter::default()
    };
    assert_eq!(filter, expected);
    assert_eq!(
        written(&filter),
        r#"{"toolsListChanged":true,"resourceSubscriptions":["a:1","b"],"taskIds":["t"],"x":{"y": 1.0}}"#
    );
    assert_eq!(Filter::parse(b"{}"), Some(Filter::default()));
    assert_eq!(written(&Filter::default()), "{}");
    let others = Filter { prompts: true, resources: true, ..Filter::default() };
    assert_eq!(written(&others), r#"{"promptsListChanged":true,"resourcesListChanged":true}"#);
    for raw in [
        "[]",
        "null",
        "",
        r#"{"toolsListChanged":1}"#,
        r#"{"toolsListChanged":"true"}"#,
        r#"{"resourceSubscriptions":"a"}"#,
        r#"{"resourceSubscriptions":[1]}"#,
        r#"{"resourceSubscriptions":["\ud800"]}"#,
        r#"{"taskIds":{}}"#,
        r#"{"toolsListChanged":true,"toolsList\u0043hanged":true}"#,
        r#"{"\ud800":1}"#,
    ] {
        assert_eq!(Filter::parse(raw.as_bytes()), None, "{raw}");
    }
}

#[test]
fn questions_of_a_result_are_told_in_order() {
    let raw = r#"{"_meta":{},"resultType" : "input\u005frequired", "inputRequests": { "z" : {"method":"roots/list"},
        "a":{"params" : {"message":"?"} ,"method":"elicitation\/create"}}, "requestState" : "s\n" }"#;
    let found = InputRequired::parse(raw.as_bytes()).unwrap().unwrap();
    let at = |span: &Option<Range<usize>>| span.clone().map(|span| &raw[span]);
    let requests: Vec<_> = found
        .requests
        .iter()
        .map(|InputRequest { key, method, params }| (&**key, &**method, at(params)))
        .collect();
    assert_eq!(
        requests,
        [("z", "roots/list", None), ("a", "elicitation/create", Some(r#"{"message":"?"}"#))]
    );
    assert_eq!(at(&found.state), Some(r#""s\n""#));

    let load_shedding = br#"{"resultType":"input_required","requestState":"s"}"#;
    let found = InputRequired::parse(load_shedding).unwrap().unwrap();
    assert_eq!((found.requests.len(), found.state), (0, Some(46..49)));

    for raw in ["{}", "[]", "", r#"{"resultType":"complete"}"#, r#"{"resultType":7,"inputRequests":{}}"#] {
        assert_eq!(InputRequired::parse(raw.as_bytes()), Ok(None), "{raw}");
    }
    for (rest, reason) in [
        (r#""a":1"#, "neither inputRequests nor requestState"),
        (r#""requestState":7"#, "requestState is a string"),
        (r#""requestState":null"#, "requestState is a string"),
        (r#""requestState":"","requestState":"""#, "a member occurs twice"),
        (r#""requestState":"","resultType":"complete""#, "a member occurs twice"),
        (r#""inputRequests":{},"inputRequests":{}"#, "a member occurs twice"),
        (r#""inputRequests":[]"#, "inputRequests is an object"),
        (r#""inputRequests":{"a":[]}"#, "an input request is an object"),
        (r#""inputRequests":{"a":{}}"#, "an input request has a method"),
        (r#""inputRequests":{"a":{"method":7}}"#, "an input request has a method"),
        (r#""inputRequests":{"a":{"method":"m","params":[]}}"#, "params is an object"),
        (r#""inputRequests":{"a":{"method":"m"},"\u0061":{"method":"m"}}"#, "a member occurs twice"),
        (r#""inputRequests":{"\ud800":{"method":"m"}}"#, "a key with a lone surrogate"),
    ] {
        let raw = format!(r#"{{"resultType":"input_required",{rest}}}"#);
        assert_eq!(InputRequired::parse(raw.as_bytes()), Err(reason), "{raw}");
    }
}

proptest! {
    #[test]
    fn dropping_any_members_leaves_the_others(
        keys in prop::collection::btree_set("[a-z\"\\\\]{1,3}", 0..8),
        inner in 0_usize..8,
        kept in any::<u32>(),
        pretty: bool,
    ) {
        // Every key but one has a number; that one has an object with the same keys.
        let flat: Map<String, Value> = keys.iter().enumerate().map(|(at, key)| (key.clone(), json!(1000 + at))).collect();
        let mut whole = flat.clone();
        if let Some(value) = whole.values_mut().nth(inner) {
            *value = flat.iter().map(|(key, n)| (key.clone(), json!(n.as_u64().unwrap() + 1000))).collect::<Map<_, _>>().into();
        }
        let message = if pretty { serde_json::to_string_pretty(&whole) } else { serde_json::to_string(&whole) }.unwrap();
        let gone = |n: &Value| n.as_u64().is_some_and(|n| kept & 1 << (n - 1000 - if n >= 2000 { 984 } else { 0 }) == 0);
        let values = (1000..2008_u64).filter(|n| (*n < 1008 || *n >= 2000) && gone(&json!(n)));
        let spans = values.filter_map(|n| message.find(&n.to_string()).map(|at| at..at + 4)).collect();
        let out = text(without(message.as_bytes(), spans));
        let mut expected = Value::Object(whole);
        for object in [0, 1] {
            let map = expected.as_object_mut().unwrap();
            match object {
                0 => map.retain(|_, value| !gone(value)),
                _ => map.values_mut().filter_map(Value::as_object_mut).for_each(|map| map.retain(|_, n| !gone(n))),
            }
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected, "{}", message);
    }

    #[test]
    fn filters_survive(
        tools: bool, prompts: bool, resources: bool,
        uris in prop::collection::vec("\\PC{0,6}", 0..3),
        task_ids in prop::collection::vec("\\PC{0,6}", 0..3),
    ) {
        let filter = Filter { tools, prompts, resources, uris, task_ids, unknown: vec![("x".into(), b"1e400".to_vec())] };
        prop_assert_eq!(Filter::parse(written(&filter).as_bytes()), Some(filter));
    }
}
