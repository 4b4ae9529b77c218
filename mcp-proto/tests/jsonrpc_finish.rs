//! What a message becomes for a client of the other era: its id, a result's own members, error codes, ids of tasks.
#![cfg(test)]

use mcp_proto::Keys;
use mcp_proto::jsonrpc::rewrite::{Finish, Malformed, Plan, ResultType, Rewriter, Scope, TaskSeal};
use proptest::prelude::*;
use routing::{TargetId, TargetName};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const DEPTH: usize = 128;
const INFO: &str = r#"{"name":"s"}"#;
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

fn modern(cacheable: bool) -> Plan {
    Plan { finish: Finish::Modern { server_info: INFO.into(), cacheable }, ..Plan::default() }
}

fn legacy() -> Plan {
    Plan { finish: Finish::Legacy, ..Plan::default() }
}

fn task_seal() -> TaskSeal {
    TaskSeal {
        keys: Keys::new([1; 32], &[]),
        owner: 7,
        target: TargetId::parse(&"ns/b".into(), "t").unwrap(),
    }
}

fn tasks(scope: Scope) -> Plan {
    Plan { scope, task: Some(Arc::new(task_seal())), ..Plan::default() }
}

type Outcome = Result<(String, Option<ResultType>, bool), Malformed>;

fn push<'a>(plan: &Plan, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut rewriter = Rewriter::new(plan.clone(), DEPTH);
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.push(piece, &mut out)?;
    }
    Ok((String::from_utf8_lossy(&out).into_owned(), rewriter.result_type(), rewriter.is_complete()))
}

/// The same from every cut into two and byte by byte.
fn everywhere(plan: &Plan, text: &str) -> Outcome {
    let bytes = text.as_bytes();
    let whole = push(plan, [bytes]);
    assert_eq!(push(plan, bytes.chunks(1)), whole, "{text} byte by byte");
    for cut in 0..=bytes.len() {
        assert_eq!(push(plan, [&bytes[..cut], &bytes[cut..]]), whole, "{text} cut at {cut}");
    }
    whole
}

fn rewritten(plan: &Plan, text: &str) -> String {
    let (out, _, complete) = everywhere(plan, text).unwrap_or_else(|Malformed| panic!("{text}"));
    assert!(complete, "{text}");
    out
}

#[test]
fn a_modern_client_gets_what_is_missing() {
    let info = format!(r#""{SERVER_INFO}":{INFO}"#);
    let meta = format!(r#""_meta":{{{info}}}"#);
    for (result, expected) in [
        ("{}", format!(r#"{{"resultType":"complete",{meta}}}"#)),
        ("{ }", format!(r#"{{ "resultType":"complete",{meta}}}"#)),
        (r#"{"a":[{}] }"#, format!(r#"{{"a":[{{}}] ,"resultType":"complete",{meta}}}"#)),
        (r#"{"_meta":{}}"#, format!(r#"{{"_meta":{{{info}}},"resultType":"complete"}}"#)),
        (r#"{"_meta":{"x":{}}}"#, format!(r#"{{"_meta":{{"x":{{}},{info}}},"resultType":"complete"}}"#)),
        (r#"{"resultType":"complete"}"#, format!(r#"{{"resultType":"complete",{meta}}}"#)),
        (r#"{"resultType":"task","a":1}"#, format!(r#"{{"resultType":"task","a":1,{meta}}}"#)),
        (r#"{"r\u0065sultType":7}"#, format!(r#"{{"r\u0065sultType":7,{meta}}}"#)),
        // Of another type: whoever reads it may judge.
        (r#"{"_meta":null}"#, r#"{"_meta":null,"resultType":"complete"}"#.into()),
        (r#"{"_meta":[{}]}"#, r#"{"_meta":[{}],"resultType":"complete"}"#.into()),
        ("null", "null".into()),
        ("[{}]", "[{}]".into()),
        (r#""x""#, r#""x""#.into()),
    ] {
        let message = |result| format!(r#"{{"id":1,"result":{result},"jsonrpc":"2.0"}}"#);
        assert_eq!(rewritten(&modern(false), &message(result)), message(&expected));
    }
    let whole = format!(
        r#"{{"result":{{"_meta":{{"{SERVER_INFO}":{{}}}},"cacheScope":"public","ttlMs":5,"resultType":"complete"}}}}"#
    );
    assert_eq!(rewritten(&modern(true), &whole), whole);
    for text in [
        r#"{"error":{"code":1,"_meta":{}}}"#,
        r#"{"method":"m","params":{"_meta":{}}}"#,
        r#"[{"result":{}}]"#,
        "{}",
    ] {
        assert_eq!(rewritten(&modern(true), text), text);
    }
}

#[test]
fn only_a_complete_result_says_how_long_it_may_be_kept() {
    let meta = format!(r#""_meta":{{"{SERVER_INFO}":{INFO}}}"#);
    for (result, expected) in [
        ("{}", format!(r#"{{"resultType":"complete","ttlMs":0,"cacheScope":"private",{meta}}}"#)),
        (
            r#"{"ttlMs":9,"resultType":"complete"}"#,
            format!(r#"{{"ttlMs":9,"resultType":"complete","cacheScope":"private",{meta}}}"#),
        ),
        (r#"{"cacheScope":1}"#, format!(r#"{{"cacheScope":1,"resultType":"complete","ttlMs":0,{meta}}}"#)),
        (r#"{"resultType":"input_required"}"#, format!(r#"{{"resultType":"input_required",{meta}}}"#)),
    ] {
        let message = |result| format!(r#"{{"result":{result}}}"#);
        assert_eq!(rewritten(&modern(true), &message(result)), message(&expected));
    }
}

#[test]
fn a_legacy_client_gets_nothing_it_does_not_know() {
    let info = format!(r#""{SERVER_INFO}":{{"a":[1]}}"#);
    for (result, expected) in [
        (r#"{"resultType":"complete"}"#.to_owned(), "{}"),
        (r#"{ "resultType" : "complete" }"#.into(), "{ }"),
        (r#"{"resultType":"complete","a":1}"#.into(), r#"{"a":1}"#),
        (r#"{"a":1,"resultType":"complete"}"#.into(), r#"{"a":1}"#),
        (r#"{"a":1,"resultType":"complete","b":{"ttlMs":1}}"#.into(), r#"{"a":1,"b":{"ttlMs":1}}"#),
        (r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#.into(), "{}"),
        (r#"{"ttlMs":{"a":[]},"a":1,"cacheScope":["x"],"resultType":null}"#.into(), r#"{"a":1}"#),
        (r#"{"a":1,"ttlMs":-1.5e3,"cacheScope":true,"b":2}"#.into(), r#"{"a":1,"b":2}"#),
        (r#"{"a" : 1 , "ttlMs" : 1 , "b" : 2 }"#.into(), r#"{"a" : 1  , "b" : 2 }"#),
        (r#"{"ttlMs" : 1 , "b" : 2 , "c":[ ] }"#.into(), r#"{  "b" : 2 , "c":[ ] }"#),
        (r#"{"r\u0065sultType":"\u0063","a\"":1}"#.into(), r#"{"a\"":1}"#),
        (format!(r#"{{"_meta":{{{info}}},"a":1}}"#), r#"{"_meta":{},"a":1}"#),
        (format!(r#"{{"_meta":{{"x":1,{info}}}}}"#), r#"{"_meta":{"x":1}}"#),
        (format!(r#"{{"ttlMs":1,"_meta":{{{info},"x":1}},"resultType":""}}"#), r#"{"_meta":{"x":1}}"#),
        (format!(r#"{{"_meta":{{"y":{{{info}}},{info},"x":1}}}}"#), "-"),
    ] {
        let message = |result: &str| format!(r#"{{"jsonrpc":"2.0","result":{result},"id":1}}"#);
        let nested = result.replace(&format!(r#"}},{info}"#), "}");
        let expected = if expected == "-" { &nested } else { expected };
        assert_eq!(rewritten(&legacy(), &message(&result)), message(expected));
    }
    for text in [
        r#"{"resultType":"a","ttlMs":1,"error":{"resultType":"a"},"params":{"ttlMs":1}}"#,
        r#"[{"result":{"resultType":"complete"}}]"#,
        r#"{"result":[{"resultType":"complete"}]}"#,
    ] {
        assert_eq!(rewritten(&legacy(), text), text);
    }
}

#[test]
fn the_id_of_a_message_is_replaced() {
    let plan = Plan { id: Some(r#""é\n""#.into()), ..Plan::default() };
    for (text, expected) in [
        (r#"{"id":1,"result":{"id":1}}"#, r#"{"id":"é\n","result":{"id":1}}"#),
        (r#"{"error":{"id":2}, "i\u0064" : -1.5e3 }"#, r#"{"error":{"id":2}, "i\u0064" : "é\n" }"#),
        (r#"{"id":"a\"b","method":"m"}"#, r#"{"id":"é\n","method":"m"}"#),
        (r#"{"id":null}"#, r#"{"id":"é\n"}"#),
        (r#"{"id":{"id":1},"x":[{"id":2}]}"#, r#"{"id":{"id":1},"x":[{"id":2}]}"#),
        (r#"[{"id":1,"result":{}}]"#, r#"[{"id":1,"result":{}}]"#),
        (r#"{"result":{}}"#, r#"{"result":{}}"#),
    ] {
        assert_eq!(rewritten(&plan, text), expected);
    }
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(300_000));
    assert_eq!(push(&plan, [long.as_bytes()]).unwrap().0, r#"{"id":"é\n"}"#);
    assert_eq!(everywhere(&plan, "{\"id\":\"a\nb\"}"), Err(Malformed));
}

#[test]
fn error_codes_are_replaced() {
    let plan = Plan { codes: &[(-32002, -32602), (1, i64::MIN)], ..Plan::default() };
    for (error, expected) in [
        (r#"{"code":-32002,"data":{"code":-32002}}"#, r#"{"code":-32602,"data":{"code":-32002}}"#),
        (r#"{"m":"x","c\u006fde" : 1 }"#, r#"{"m":"x","c\u006fde" : -9223372036854775808 }"#),
        (r#"{"code":-32001}"#, r#"{"code":-32001}"#),
        (r#"{"code":-32002.0}"#, r#"{"code":-32002.0}"#),
        (r#"{"code":100000000000000000000000000000}"#, r#"{"code":100000000000000000000000000000}"#),
        (r#"{"code":"1"}"#, r#"{"code":"1"}"#),
        (r#"{"code":[1]}"#, r#"{"code":[1]}"#),
        (r#"{"code":null}"#, r#"{"code":null}"#),
        ("1", "1"),
    ] {
        let message = |error| format!(r#"{{"code":1,"error":{error},"id":1}}"#);
        assert_eq!(rewritten(&plan, &message(error)), message(expected));
    }
    for text in [r#"{"result":{"code":1}}"#, r#"[{"error":{"code":1}}]"#, r#"{"error":[{"code":1}]}"#] {
        assert_eq!(rewritten(&plan, text), text);
    }
}

#[test]
fn the_type_is_known_as_soon_as_it_was_read() {
    let plans = [legacy(), modern(false), Plan { watch: true, ..Plan::default() }];
    for (text, result_type) in [
        (r#"{"result":{"resultType":"complete""#, Some(ResultType::Complete)),
        (
            r#"{"result":{"x":{"resultType":"a"},"resultType":"input\u005frequired""#,
            Some(ResultType::InputRequired),
        ),
        (r#"{"result":{"resultType":"task""#, Some(ResultType::Other)),
        (r#"{"result":{"resultType":"\ud800""#, Some(ResultType::Other)),
        (r#"{"result":{"resultType":7"#, Some(ResultType::Other)),
        (r#"{"result":{"resultType":{"#, Some(ResultType::Other)),
        (r#"{"result":{}"#, Some(ResultType::Complete)),
        (r#"{"result":{"content":[]}"#, Some(ResultType::Complete)),
        (r#"{"result":n"#, Some(ResultType::Complete)),
        (r#"{"result":["#, Some(ResultType::Complete)),
        (r#"{"result":{"resultType":"complete"#, None),
        (r#"{"result":{"content":[]"#, None),
        (r#"{"result":"#, None),
        (r#"{"error":{"resultType":"complete"}}"#, None),
        (r#"{"method":"m","params":{"resultType":"complete"}}"#, None),
        (r#"[{"result":{}}]"#, None),
    ] {
        for plan in &plans {
            assert_eq!(everywhere(plan, text).unwrap().1, result_type, "{text}");
        }
        assert_eq!(everywhere(&Plan::default(), text).unwrap().1, None, "{text}");
    }
}

#[test]
fn tasks_are_sealed_wherever_they_are_named() {
    let sealed = task_seal().seal("a/é");
    let keys = task_seal().keys;
    assert_eq!(TaskSeal::open(&keys, 7, &sealed), Some((task_seal().target, "a/é".into())));
    assert_eq!(TaskSeal::open(&keys, 8, &sealed), None);
    assert_eq!(TaskSeal::open(&keys, 7, "AAAA"), None);
    for (scope, text) in [
        (Scope::Result, r#"{"result":{"taskId":"?","x":{"taskId":"a"}}}"#.to_owned()),
        (Scope::Result, r#"{"result":{"task":{"taskId":"?"}}}"#.into()),
        (Scope::Result, r#"{"result":{"tasks":[{"taskId":"?"},{"x":1,"taskId":"?"}]}}"#.into()),
        (Scope::Result, format!(r#"{{"result":{{"_meta":{{"{RELATED_TASK}":{{"taskId":"?"}}}}}}}}"#)),
        (
            Scope::Task,
            format!(r#"{{"params":{{"taskId":"?","_meta":{{"{RELATED_TASK}":{{"taskId":"?"}}}}}}}}"#),
        ),
        (
            Scope::Nothing,
            format!(r#"{{"params":{{"taskId":"a","_meta":{{"x":1,"{RELATED_TASK}":{{"taskId":"?"}}}}}}}}"#),
        ),
        (Scope::Sampling, format!(r#"{{"params":{{"_meta":{{"{RELATED_TASK}":{{"taskId":"?"}}}}}}}}"#)),
        (Scope::Result, r#"{"params":{"taskId":"a"},"taskId":"a","result":{"taskId":7}}"#.into()),
    ] {
        let plain = text.replace('?', r"a\/\u00e9");
        assert_eq!(rewritten(&tasks(scope), &plain), text.replace('?', &sealed));
        assert_eq!(rewritten(&Plan { task: None, ..tasks(scope) }, &plain), plain);
        let named = Plan::names(Some(TargetName::parse("t").unwrap()), scope);
        assert_eq!(rewritten(&named, &plain), plain);
    }
    // The result in a task has URIs, but only with a target do they get its name.
    let text = r#"{"result":{"result":{"content":[{"uri":"a:b"}]}}}"#;
    assert_eq!(rewritten(&tasks(Scope::Result), text), text);
    let plan = Plan { target: TargetName::parse("t").ok(), ..tasks(Scope::Result) };
    assert_eq!(rewritten(&plan, text), text.replace("a:b", "t+a:b"));
    // A task that nobody could ask for.
    let long = format!(r#"{{"result":{{"taskId":"{}"}}}}"#, "x".repeat(70_000));
    assert_eq!(push(&plan, [long.as_bytes()]), Err(Malformed));
    assert_eq!(everywhere(&plan, r#"{"result":{"taskId":"\ud800"}}"#), Err(Malformed));
}

#[test]
fn all_changes_go_together() {
    let plan = Plan {
        target: TargetName::parse("t").ok(),
        id: Some("9".into()),
        ..Plan { finish: legacy().finish, ..tasks(Scope::Result) }
    };
    let text = format!(
        r#"{{"id":"x","result":{{"resultType":"complete","content":[{{"uri":"a:b"}}],"ttlMs":1,"taskId":"a",
        "_meta":{{"{SERVER_INFO}":{{}},"{RELATED_TASK}":{{"taskId":"a"}}}}}}}}"#
    );
    let sealed = task_seal().seal("a");
    let expected = format!(
        r#"{{"id":9,"result":{{"content":[{{"uri":"t+a:b"}}],"taskId":"{sealed}",        "_meta":{{"{RELATED_TASK}":{{"taskId":"{sealed}"}}}}}}}}"#
    );
    assert_eq!(everywhere(&plan, &text), Ok((expected, Some(ResultType::Complete), true)));
}

#[test]
fn holds_back_no_more_than_one_key() {
    let mut rewriter = Rewriter::new(legacy(), DEPTH);
    let (mut pushed, mut written) = (0_usize, 0_usize);
    let mut out = Vec::new();
    let mut push = |piece: &[u8]| {
        out.clear();
        rewriter.push(piece, &mut out).unwrap();
        pushed += piece.len();
        written += out.len();
        pushed - written
    };
    assert_eq!(push(br#"{"result":{"a":1,"#), 1);
    assert!(push(br#""x"#) <= 3);
    for _ in 0..100 {
        assert_eq!(push(&[b'x'; 1024]), 0);
    }
    assert_eq!(push(br#"":[]"#), 0);
    // White space is no reason to hold more; what is too much of it goes.
    push(b",");
    for _ in 0..100 {
        push(&[b' '; 1024]);
    }
    push(br#""b":2}}"#);
    assert!(pushed - written >= 100 * 1024 - 400);
}

/// What the rewriter should do with a result, on a tree.
fn model(plan: &Plan, message: &mut Value) {
    let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) else { return };
    match &plan.finish {
        Finish::Keep => {}
        Finish::Modern { cacheable, .. } => {
            let complete = *result.entry("resultType").or_insert_with(|| json!("complete")) == "complete";
            if *cacheable && complete {
                result.entry("ttlMs").or_insert_with(|| json!(0));
                result.entry("cacheScope").or_insert_with(|| json!("private"));
            }
            if let Value::Object(meta) = result.entry("_meta").or_insert_with(|| json!({})) {
                meta.entry(SERVER_INFO).or_insert_with(|| serde_json::from_str(INFO).unwrap());
            }
        }
        Finish::Legacy => {
            for key in ["resultType", "ttlMs", "cacheScope"] {
                result.remove(key);
            }
            if let Some(Value::Object(meta)) = result.get_mut("_meta") {
                meta.remove(SERVER_INFO);
            }
        }
    }
}

fn result() -> impl Strategy<Value = Value> {
    let leaf = || {
        prop_oneof![
            Just(json!("complete")),
            Just(json!("input_required")),
            Just(json!(null)),
            Just(json!(-12.5)),
            Just(json!({})),
            Just(json!([{"resultType": "a", "ttlMs": [1], "_meta": {SERVER_INFO: 1}}])),
            Just(json!({"resultType": "a", "ttlMs": 1, "_meta": {SERVER_INFO: 1}})),
        ]
    };
    let meta_key = prop::sample::select(vec![SERVER_INFO, "a", "z", "\"\\"]);
    let meta = prop_oneof![
        4 => prop::collection::btree_map(meta_key, leaf(), 0..4).prop_map(|members| json!(members)),
        1 => leaf(),
    ];
    let key = prop::sample::select(vec!["resultType", "ttlMs", "cacheScope", "a", "s", "zz", "{\"\\"]);
    (prop::collection::btree_map(key, leaf(), 0..7), prop::option::of(meta)).prop_map(|(members, meta)| {
        let mut result: Map<String, Value> =
            members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        result.extend(meta.map(|meta| ("_meta".to_owned(), meta)));
        result.into()
    })
}

proptest! {
    #[test]
    fn agrees_with_a_tree_in_any_pieces(result in result(), size in 1_usize..40, pretty: bool) {
        let message = json!({"id": 1, "jsonrpc": "2.0", "result": result});
        let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
        let text = text.unwrap();
        for plan in [modern(false), modern(true), legacy(), Plan { watch: true, ..Plan::default() }] {
            let (out, found, complete) = push(&plan, text.as_bytes().chunks(size)).unwrap();
            let mut expected = message.clone();
            model(&plan, &mut expected);
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected, "{:?} {}", plan, text);
            let expected = match message["result"].get("resultType").map(Value::as_str) {
                None | Some(Some("complete")) => ResultType::Complete,
                Some(Some("input_required")) => ResultType::InputRequired,
                Some(_) => ResultType::Other,
            };
            prop_assert_eq!((found, complete), (Some(expected), true));
            prop_assert_eq!(push(&plan, [text.as_bytes()]).unwrap().0, out);
        }
    }

    #[test]
    fn any_cut_of_anything_gives_the_same(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", "\n", " ", "1", "null", "\"id\":", "\"result\":{", "\"error\":{",
                "\"code\":1", "\"resultType\":", "\"complete\"", "\"ttlMs\":0", "\"_meta\":{", "\"taskId\":\"a\"", "\"a\":1",
                "\"io.modelcontextprotocol/serverInfo\":{}",
            ]),
            0..30,
        ),
        size in 1_usize..12,
    ) {
        let text = format!("{{{}", parts.concat());
        for finish in [legacy().finish, modern(true).finish] {
            let plan = Plan { finish, id: Some("2".into()), codes: &[(1, 2)], ..tasks(Scope::Result) };
            let whole = push(&plan, [text.as_bytes()]);
            prop_assert_eq!(push(&plan, text.as_bytes().chunks(size)), whole);
        }
    }
}
