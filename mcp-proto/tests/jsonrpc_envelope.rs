//! The envelope: every way in which two readers could understand one message differently is refused.
#![cfg(test)]

use mcp_proto::jsonrpc::envelope::{Body, Envelope, Id, Invalid, Kind, Params, body};
use mcp_proto::jsonrpc::splice::{quote, splice};
use proptest::prelude::*;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Range;

const DEPTH: usize = 128;

fn parse(text: &str) -> Envelope<'_> {
    Envelope::parse(text.as_bytes(), DEPTH).unwrap_or_else(|invalid| panic!("{text}: {invalid}"))
}

fn refused(text: &str) -> (i64, Option<String>) {
    let invalid = Envelope::parse(text.as_bytes(), DEPTH).expect_err(text);
    (invalid.code, invalid.id)
}

fn at(text: &str, span: Option<Range<usize>>) -> &str {
    span.map_or("", |span| &text[span])
}

#[test]
fn finds_everything_and_where_it_stands() {
    let text = r#" { "jsonrpc" : "2.0" , "x":[{"id":9}], "id" : 007e ,
        "method":"completion\/complete","params" : { "arguments":{"name":"no","_meta":{"progressToken":1}},
        "name" : "a\u0062c", "uri":"demo://x" ,"cursor":"c","level":"info","logger":"l","protocolVersion":"2025-06-18",
        "requestId": "r1" , "progressToken":12345678901234567890, "_meta":{"a":[1],"progressToken" : 1e400 },
        "capabilities" : {"roots":{}} ,"clientInfo":{"name":"me"},
        "ref":{"type":"ref/prompt","name":"p","uri":"u"}  } } "#
        .replace("007e", "9007199254740993");
    let envelope = parse(&text);
    let params = &envelope.params;
    assert_eq!(envelope.kind(), Kind::Request);
    assert_eq!(envelope.id, Id::Raw("9007199254740993"));
    assert_eq!(at(&text, envelope.id_span.clone()), "9007199254740993");
    let strings = [
        (&envelope.method, r#""completion\/complete""#, "completion/complete"),
        (&params.name, r#""a\u0062c""#, "abc"),
        (&params.uri, r#""demo://x""#, "demo://x"),
        (&params.cursor, r#""c""#, "c"),
        (&params.level, r#""info""#, "info"),
        (&params.logger, r#""l""#, "l"),
        (&params.protocol_version, r#""2025-06-18""#, "2025-06-18"),
        (&params.reference.as_ref().unwrap().name, r#""p""#, "p"),
        (&params.reference.as_ref().unwrap().uri, r#""u""#, "u"),
    ];
    for (found, raw, value) in strings {
        let found = found.as_ref().unwrap();
        assert_eq!((&text[found.span.clone()], &*found.value), (raw, value));
    }
    assert!(matches!(params.uri.as_ref().unwrap().value, Cow::Borrowed(_)));
    assert_eq!(at(&text, params.request_id.clone()), r#""r1""#);
    assert_eq!(at(&text, params.progress_token.clone()), "12345678901234567890");
    assert_eq!(at(&text, params.meta_progress_token.clone()), "1e400");
    assert_eq!(at(&text, params.capabilities.clone()), r#"{"roots":{}}"#);
    assert_eq!(at(&text, params.client_info.clone()), r#"{"name":"me"}"#);
    let whole = at(&text, params.span.clone());
    assert!(whole.starts_with(r#"{ "arguments""#) && whole.ends_with(r#""uri":"u"}  }"#), "{whole}");
}

#[test]
fn tells_what_a_message_is() {
    let kind = |rest: &str| parse(&format!(r#"{{"jsonrpc":"2.0",{rest}}}"#)).kind();
    assert_eq!(kind(r#""id":1,"method":"ping""#), Kind::Request);
    assert_eq!(kind(r#""id":"1","method":"ping","params":{}"#), Kind::Request);
    assert_eq!(kind(r#""method":"notifications/initialized""#), Kind::Notification);
    assert_eq!(kind(r#""id":1,"result":{}"#), Kind::Response);
    assert_eq!(kind(r#""id":1,"result":null"#), Kind::Response);
    assert_eq!(kind(r#""id":null,"error":{"code":-32700,"message":""}"#), Kind::Response);
    assert_eq!(kind(r#""error":{"code":-32700,"message":""}"#), Kind::Response);
}

#[test]
fn shows_results_and_errors() {
    let text = r#"{"jsonrpc":"2.0","id":-1.50,"result": {"a" : 1} }"#;
    let answer = parse(text);
    assert_eq!((answer.id, at(text, answer.result.clone())), (Id::Raw("-1.50"), r#"{"a" : 1}"#));
    let text = r#"{"jsonrpc":"2.0","error": {"message":"m","code":-32002,"data":{"code":1}} ,"id":"a"}"#;
    let error = parse(text).error.unwrap();
    assert_eq!(error.code, Some(-32002));
    assert_eq!(&text[error.span], r#"{"message":"m","code":-32002,"data":{"code":1}}"#);
    for (error, code) in
        [(r#""no""#, None), ("[1]", None), (r#"{"code":1.5}"#, None), (r#"{"code":7}"#, Some(7))]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        assert_eq!(parse(&text).error.unwrap().code, code, "{text}");
    }
}

#[test]
fn ids_keep_their_spelling() {
    for id in [
        "0",
        "-0",
        "9007199254740993",
        "18446744073709551616",
        "1e400",
        "1.0",
        r#""""#,
        r#""\u0031""#,
        r#""1""#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"m"}}"#);
        assert_eq!(parse(&text).id, Id::Raw(id));
    }
    let request = |id: &str| refused(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#));
    for id in ["null", "true", "[1]", "{}", r#""\ud800""#] {
        assert_eq!(request(id), (-32600, None), "{id}");
    }
}

#[test]
fn refuses_what_is_no_json() {
    for text in [
        "",
        " ",
        "{",
        "x",
        r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}{}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m",}"#,
        r#"{"jsonrpc":"2.0","id":01,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}",
        "[1",
    ] {
        assert_eq!(refused(text), (-32700, None), "{text:?}");
    }
    // Invalid UTF-8 in a string that nobody reads.
    let invalid =
        Envelope::parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":\"\xff\"}", DEPTH).unwrap_err();
    assert_eq!(invalid, Invalid { code: -32700, reason: "not valid UTF-8", id: None });
}

#[test]
fn refuses_what_is_no_message() {
    // The second column: whether the answer can name the id.
    for (text, named) in [
        ("null", false),
        ("7", false),
        (r#"["2.0",7,"m"]"#, false),
        ("{}", false),
        (r#"{"jsonrpc":"2.0"}"#, false),
        (r#"{"jsonrpc":"2.0","id":7}"#, true),
        (r#"{"id":7,"method":"m"}"#, true),
        (r#"{"jsonrpc":"1.0","id":7,"method":"m"}"#, true),
        (r#"{"jsonrpc":2.0,"id":7,"method":"m"}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":7}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":null,"result":{}}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"\ud800"}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":[]}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":null}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":"x"}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","result":{}}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","error":{}}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#, true),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":null}"#, true),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","result":{}}"#, false),
    ] {
        assert_eq!(refused(text), (-32600, named.then(|| "7".to_owned())), "{text}");
    }
}

#[test]
fn refuses_every_key_it_reads_when_it_comes_twice() {
    let top = [("jsonrpc", r#""2.0""#), ("id", "7"), ("method", r#""m""#), ("params", "{}")];
    let answer = [("jsonrpc", r#""2.0""#), ("id", "7"), ("result", "{}")];
    let error = [("jsonrpc", r#""2.0""#), ("id", "7"), ("error", "{}")];
    let write = |members: &[(&str, &str)], again: (&str, &str)| {
        let members: Vec<String> =
            members.iter().chain([&again]).map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    for members in [top.as_slice(), &answer, &error] {
        for (key, value) in members {
            for spelling in [(*key).to_owned(), escaped(key)] {
                let text = write(members, (&spelling, value));
                assert_eq!(refused(&text).0, -32600, "{text}");
            }
        }
    }
    let inside = [
        ("", "name"),
        ("", "uri"),
        ("", "cursor"),
        ("", "level"),
        ("", "protocolVersion"),
        ("", "logger"),
        ("", "ref"),
        ("", "requestId"),
        ("", "progressToken"),
        ("", "capabilities"),
        ("", "clientInfo"),
        ("", "_meta"),
        ("_meta", "progressToken"),
        ("ref", "name"),
        ("ref", "uri"),
        ("", "arguments"),
        ("", "task"),
        ("", "taskId"),
        ("", "requestState"),
        ("", "inputResponses"),
        ("", "notifications"),
        ("_meta", "io.modelcontextprotocol/protocolVersion"),
        ("_meta", "io.modelcontextprotocol/clientCapabilities"),
        ("_meta", "io.modelcontextprotocol/clientInfo"),
        ("_meta", "io.modelcontextprotocol/logLevel"),
        ("_meta", "io.modelcontextprotocol/subscriptionId"),
        ("_meta", "io.modelcontextprotocol/related-task"),
    ];
    for (object, key) in inside {
        for (spelling, value) in [(key.to_owned(), "5"), (escaped(key), r#""x""#)] {
            let twice = format!(r#"{{"{key}":"a","{spelling}":{value}}}"#);
            let params = if object.is_empty() { twice } else { format!(r#"{{"{object}":{twice}}}"#) };
            let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{params}}}"#);
            assert_eq!(refused(&text), (-32600, Some("7".into())), "{text}");
        }
    }
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a","taskId":"b"}}}}"#;
    assert_eq!(refused(text), (-32600, Some("7".into())));
    // Where nothing is read, the target judges.
    parse(
        r#"{"jsonrpc":"2.0","id":7,"method":"m","x":1,"x":2,"params":{"arguments":{"name":1,"name":2},"y":1,"y":2}}"#,
    );
}

/// The same key with every character as an escape.
fn escaped(key: &str) -> String {
    key.chars().map(|c| format!("\\u{:04x}", c as u32)).collect()
}

#[test]
fn escaped_keys_are_keys() {
    let text =
        r#"{"jsonrpc":"2.0","\u0069d":7,"\u006dethod":"m","p\u0061rams":{"n\u0061me":"x","\u0022":1}}"#;
    let envelope = parse(text);
    assert_eq!((envelope.id, &*envelope.method.unwrap().value), (Id::Raw("7"), "m"));
    assert_eq!(at(text, envelope.params.span), r#"{"n\u0061me":"x","\u0022":1}"#);
    assert_eq!(at(text, envelope.params.name.map(|name| name.span)), r#""x""#);
}

#[test]
fn quotes_and_backslashes_in_keys_do_not_shift_spans() {
    for key in [r#"a\"b"#, r"a\\", r#"\\\""#, r#"\"\":{"#] {
        let text = format!(
            r#"{{"{key}":1,"jsonrpc":"2.0","method":"m","{key}":{{}},"params":{{"{key}":[],"uri":"u","_meta":{{"{key}":0,"progressToken":2}}}}}}"#
        );
        let params = parse(&text).params;
        assert!(at(&text, params.span).starts_with(&format!(r#"{{"{key}":[],"uri""#)));
        assert_eq!(at(&text, params.uri.map(|uri| uri.span)), r#""u""#);
        assert_eq!(at(&text, params.meta_progress_token), "2");
    }
}

#[test]
fn parameters_of_another_type_are_the_targets_to_judge() {
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m",
        "params":{"name":5,"uri":null,"cursor":{"a":1},"level":[],"ref":"x","_meta":[{"progressToken":1}]}}"#;
    let params = parse(text).params;
    let (span, meta) = (params.span.clone(), params.meta.clone());
    assert_eq!(at(text, meta.clone()), r#"[{"progressToken":1}]"#);
    assert_eq!(params, Params { span, meta, ..Params::default() });
}

#[test]
fn finds_what_stands_for_a_handshake() {
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"taskId":"t", "task": {"ttl":1} ,"arguments" : [1],
        "requestState" : "s", "inputResponses":{"a":{}} ,"notifications": {"taskIds":[]},
        "_meta" : {"io.modelcontextprotocol\/protocolVersion" : "2026-07-28", "x":{"taskId":1},
        "io.modelcontextprotocol/clientCapabilities":{"roots":{}} , "io.modelcontextprotocol/clientInfo":{"name":"c"},
        "io.modelcontextprotocol/logLevel": "info", "io.modelcontextprotocol/subscriptionId" :9 ,
        "io.modelcontextprotocol/related-task":{"x":1, "taskId" : "r" } } }}"#;
    let params = parse(text).params;
    let modern = &params.modern;
    let spans = [
        (&params.task, r#"{"ttl":1}"#),
        (&params.arguments, "[1]"),
        (&params.request_state, r#""s""#),
        (&params.input_responses, r#"{"a":{}}"#),
        (&params.notifications, r#"{"taskIds":[]}"#),
        (&modern.version, r#""2026-07-28""#),
        (&modern.client_capabilities, r#"{"roots":{}}"#),
        (&modern.client_info, r#"{"name":"c"}"#),
        (&modern.log_level, r#""info""#),
        (&modern.subscription_id, "9"),
    ];
    for (found, raw) in spans {
        assert_eq!(at(text, found.clone()), raw);
    }
    let strings = [(&params.task_id, "t"), (&params.related_task, "r"), (&modern.version_text, "2026-07-28")];
    for (found, value) in strings {
        let found = found.as_ref().unwrap();
        assert_eq!((&*found.value, &text[found.span.clone()]), (value, &*format!("{value:?}")));
    }
    let meta = at(text, params.meta.clone());
    assert!(meta.starts_with(r#"{"io."#) && meta.ends_with(r#""r" } }"#), "{meta}");
}

#[test]
fn a_handshake_of_another_type_is_where_it_stands() {
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"taskId":7,"_meta":{
        "io.modelcontextprotocol/protocolVersion":2026,"io.modelcontextprotocol/related-task":"r"}}}"#;
    let params = parse(text).params;
    assert_eq!((at(text, params.modern.version), params.modern.version_text), ("2026", None));
    assert_eq!((params.task_id, params.related_task), (None, None));
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"\ud800"}}}"#;
    assert_eq!(refused(text), (-32600, Some("7".into())));
}

#[test]
fn lone_surrogates_pass_where_nothing_is_read() {
    parse(
        r#"{"jsonrpc":"2.0","id":7,"method":"m","\udc00":"\ud800","params":{"\ud800":1,"arguments":{"a":"\ud800"}}}"#,
    );
    for params in [r#"{"name":"\ud800"}"#, r#"{"uri":"a\udc00"}"#, r#"{"ref":{"name":"\ud800x"}}"#] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{params}}}"#);
        assert_eq!(refused(&text), (-32600, Some("7".into())), "{text}");
    }
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"name":"\ud83d\ude00"}}"#;
    assert_eq!(parse(text).params.name.unwrap().value, "😀");
}

#[test]
fn depth_is_bounded_and_brackets_in_strings_are_not_depth() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{{"a":{open}{close}}}}}"#)
    };
    parse(&nested(DEPTH - 2));
    // The deepest that passes, with more brackets than that in sum.
    parse(&nested(DEPTH - 2).replace(r#""a":"#, r#""b":[[],[]],"a":"#));
    assert_eq!(refused(&nested(DEPTH - 1)).0, -32600);
    assert_eq!(refused(&nested(1_000_000)).0, -32600);
    assert_eq!(refused(&"[".repeat(1_000_000)).0, -32600);
    let many = format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":[{}{{}}],"b":"{}"}}}}"#,
        "[],".repeat(500),
        r#"[\"{\\"#.repeat(500)
    );
    parse(&many);
}

#[test]
fn the_first_byte_tells_a_batch() {
    let single = b" \r\n\t{\"a\":1}";
    assert_eq!(body(single, DEPTH, 10), Ok(Body::Message(single)));
    assert_eq!(body(b"", DEPTH, 10), Ok(Body::Message(b"")));

    let batch = br#" [ {"a":[1]} , 7,{"b":"]"} ] "#;
    let Ok(Body::Batch(spans)) = body(batch, DEPTH, 3) else { panic!("no batch") };
    let elements: Vec<&[u8]> = spans.into_iter().map(|span| &batch[span]).collect();
    assert_eq!(elements, [br#"{"a":[1]}"#.as_slice(), b"7", br#"{"b":"]"}"#]);

    let code = |bytes: &[u8], most| body(bytes, DEPTH, most).err().map(|invalid| invalid.code);
    assert_eq!(code(batch, 2), Some(-32600));
    assert_eq!(code(b"[]", 9), Some(-32600));
    assert_eq!(code(b"[{}", 9), Some(-32700));
    assert_eq!(code(b"[{}]x", 9), Some(-32700));
    assert_eq!(code(b"[\"\xff\"]", 9), Some(-32700));
    assert_eq!(code("[".repeat(1_000_000).as_bytes(), 9), Some(-32600));
}

#[test]
fn quotes_any_text() {
    for (text, literal) in [("a", r#""a""#), ("a\"\\\n\u{1}é\u{2028}", "\"a\\\"\\\\\\n\\u0001é\u{2028}\"")]
    {
        let mut out = b"x".to_vec();
        quote(text, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("x{literal}"));
    }
}

#[test]
fn splices_several_spans_and_insertions() {
    let mut out = b">".to_vec();
    splice(b"0123456789", &[(0..1, b"a"), (3..3, b"--"), (4..6, b""), (9..10, b"zz")], &mut out);
    assert_eq!(out, b">a12--3678zz");
    out.clear();
    splice(b"same", &[], &mut out);
    assert_eq!(out, b"same");
}

/// JSON text with all the freedom of spelling, not just what a serializer writes.
fn json() -> impl Strategy<Value = String> {
    let space = || "[ \t\r\n]{0,2}";
    let string = prop_oneof![
        "[a-z]{0,6}".prop_map(|text| format!("\"{text}\"")),
        Just(r#""\u006dé\"\\\/\ud83d\ude00{[""#.to_owned()),
        Just(r#""\ud800""#.to_owned()),
        Just(r#""name""#.to_owned()),
        Just(r#""_meta""#.to_owned()),
    ];
    let leaf = prop_oneof![
        string.clone(),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let member = (string.clone(), space(), space(), inner.clone())
            .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..6), space(), space())
                .prop_map(|(values, a, b)| format!("[{a}{}{b}]", values.join(&format!("{b},{a}")))),
            (prop::collection::vec(member, 0..6), space(), space())
                .prop_map(|(values, a, b)| format!("{{{a}{}{b}}}", values.join(&format!("{b},{a}")))),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&bytes, DEPTH);
        let _ = body(&bytes, DEPTH, 10);
    }

    #[test]
    fn spans_are_right_between_anything(before in json(), after in json(), name in "\\PC{0,12}", space in "[ \t\r\n]{0,3}") {
        let mut literal = Vec::new();
        quote(&name, &mut literal);
        let literal = String::from_utf8(literal).unwrap();
        let text = format!(
            r#"{space}{{{space}"x"{space}:{before},"jsonrpc":"2.0","method":"m",
            "params"{space}:{space}{{"x":{after}{space},{space}"na\u006de"{space}:{space}{literal}{space},"y":{before}{space}}}{space},"z":{after}}}"#
        );
        let envelope = parse(&text);
        let found = envelope.params.name.unwrap();
        prop_assert_eq!(&*found.value, &*name);
        prop_assert_eq!(&text[found.span.clone()], &literal);
        let params = &text[envelope.params.span.unwrap()];
        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(params).unwrap().get() == params);

        let mut out = Vec::new();
        splice(text.as_bytes(), &[(found.span.clone(), br#""other""#)], &mut out);
        let (head, tail) = (&text[..found.span.start], &text[found.span.end..]);
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{head}\"other\"{tail}"));
    }

    #[test]
    fn agrees_with_a_tree(
        id in prop_oneof![any::<i64>().prop_map(Value::from), "\\PC{0,8}".prop_map(Value::from)],
        method in "[a-z/]{1,12}",
        name in "\\PC{0,12}",
        arguments in "\\PC{0,40}",
    ) {
        let tree = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method,
            "params": {"name": name, "arguments": {"text": arguments, "name": 1}}});
        let text = serde_json::to_string_pretty(&tree).unwrap();
        let envelope = parse(&text);
        let Id::Raw(raw) = envelope.id else { panic!("no id") };
        prop_assert_eq!(serde_json::from_str::<Value>(raw).unwrap(), id);
        prop_assert_eq!(&*envelope.method.unwrap().value, &*method);
        prop_assert_eq!(&*envelope.params.name.unwrap().value, &*name);
        let params: Value = serde_json::from_str(&text[envelope.params.span.unwrap()]).unwrap();
        prop_assert_eq!(&params, &tree["params"]);
    }
}
