//! The streaming rewriter: the right strings change, everything else is the same bytes, wherever the stream is cut.
#![cfg(test)]

use mcp_proto::jsonrpc::rewrite::{Kind, Malformed, Plan, Rewriter, Scope};
use proptest::prelude::*;
use routing::TargetName;
use serde_json::{Map, Value, json};

const DEPTH: usize = 128;
const SCOPES: [Scope; 4] = [Scope::Result, Scope::Sampling, Scope::Task, Scope::Nothing];

fn target() -> Option<TargetName> {
    Some(TargetName::parse("t").unwrap())
}

type Outcome = Result<(String, Option<Kind>, bool), Malformed>;

fn push<'a>(mut rewriter: Rewriter, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.push(piece, &mut out)?;
    }
    Ok((String::from_utf8_lossy(&out).into_owned(), rewriter.kind(), rewriter.is_complete()))
}

/// The same from every cut into three, or one panic that shows which.
fn everywhere(scope: Scope, text: &str) -> Outcome {
    let rewriter = || Rewriter::new(Plan::names(target(), scope), DEPTH);
    let bytes = text.as_bytes();
    let whole = push(rewriter(), [bytes]);
    assert_eq!(push(rewriter(), bytes.chunks(1)), whole, "{text} byte by byte");
    for first in 0..=bytes.len() {
        let second = first + (bytes.len() - first) / 2;
        let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
        assert_eq!(push(rewriter(), pieces), whole, "{text} cut at {first} and {second}");
    }
    whole
}

fn rewritten(scope: Scope, text: &str) -> String {
    let (out, _, complete) = everywhere(scope, text).unwrap_or_else(|Malformed| panic!("{text}"));
    assert!(complete, "{text}");
    out
}

#[test]
fn edits_what_each_scope_names() {
    for (scope, text, expected) in [
        (
            Scope::Result,
            r#"{"result":{"content":[{"uri":"a:b"}]}}"#,
            r#"{"result":{"content":[{"uri":"t+a:b"}]}}"#,
        ),
        (
            Scope::Result,
            r#"{"id":1,"result":{"content":[{"type":"text","text":"uri"},{"resource":{"text":"x","uri":"ui://w"}}]}}"#,
            r#"{"id":1,"result":{"content":[{"type":"text","text":"uri"},{"resource":{"text":"x","uri":"ui://t+w"}}]}}"#,
        ),
        (
            Scope::Result,
            r#"{"result":{"contents":[{"uri":"a:1"},{"uri":"a:2","blob":""}]}}"#,
            r#"{"result":{"contents":[{"uri":"t+a:1"},{"uri":"t+a:2","blob":""}]}}"#,
        ),
        (
            Scope::Result,
            r#"{"result":{"messages":[{"content":{"uri":"a:1"}},{"content":[{"resource":{"uri":"a:2"}}]}]}}"#,
            r#"{"result":{"messages":[{"content":{"uri":"t+a:1"}},{"content":[{"resource":{"uri":"t+a:2"}}]}]}}"#,
        ),
        (
            Scope::Result,
            r#"{"result":{"inputRequests":{"*":{"params":{"messages":[{"content":{"uri":"a:1"}}],"uri":"a"}},"uri":{"uri":"a"}}}}"#,
            r#"{"result":{"inputRequests":{"*":{"params":{"messages":[{"content":{"uri":"t+a:1"}}],"uri":"a"}},"uri":{"uri":"a"}}}}"#,
        ),
        (
            Scope::Task,
            r#"{"params":{"contents":[{"uri":"a:1"}],"content":{"uri":"a:2"},"inputRequests":{"k":{"params":{"messages":[{"content":{"uri":"a:3"}}]}}}}}"#,
            r#"{"params":{"contents":[{"uri":"t+a:1"}],"content":{"uri":"t+a:2"},"inputRequests":{"k":{"params":{"messages":[{"content":{"uri":"t+a:3"}}]}}}}}"#,
        ),
        (
            Scope::Sampling,
            r#"{"params":{"messages":[{"content":{"uri":"a:1"}},{"content":[{"resource":{"uri":"a:2"}}]}],"uri":"a:3"}}"#,
            r#"{"params":{"messages":[{"content":{"uri":"t+a:1"}},{"content":[{"resource":{"uri":"t+a:2"}}]}],"uri":"a:3"}}"#,
        ),
    ] {
        assert_eq!(rewritten(scope, text), expected);
        let others = SCOPES.into_iter().filter(|other| *other != scope);
        // These two share a key.
        for other in others.filter(|other| (scope, *other) != (Scope::Sampling, Scope::Task)) {
            assert_eq!(rewritten(other, text), text, "{other:?}");
        }
    }
}

#[test]
fn leaves_everything_else_as_it_came() {
    for text in [
        r#"{"result":{"uri":"a","structuredContent":{"content":[{"uri":"a"}]},"_meta":{"uri":"a"}}}"#,
        r#"{"result":{"content":[{"text":"a","annotations":{"uri":"a"},"resource":{"_meta":{"uri":"a"}},"icons":[{"uri":"a"}]}]}}"#,
        r#"{"result":{"content":[{"uri":5},{"uri":null},{"uri":["a"]},{"uri":{"uri":"a"}},{"resource":"uri"},"uri"]}}"#,
        r#"{"result":{"contents":[{"resource":{"uri":"a"}}]}}"#,
        r#"{"x":{"result":{"content":[{"uri":"a"}]}},"error":{"content":[{"uri":"a"}]}}"#,
        r#"{"result":{"a":12345678901234567890,"b":1e400,"c":-0.0,"d":"\u00e9\/\ud800","a":[{},[],[[ ]],{ }]}}"#,
        r#"{"result":{"content":[]},"content":[{"uri":"a"}]}"#,
    ] {
        assert_eq!(rewritten(Scope::Result, text), text);
    }
    // Without a target nothing is renamed.
    let text = r#"{"result":{"content":[{"uri":"a:b"}]}}"#;
    let out = push(Rewriter::new(Plan::names(None, Scope::Result), DEPTH), [text.as_bytes()]).unwrap();
    assert_eq!(out, (text.to_owned(), Some(Kind::Result), true));
}

#[test]
fn keys_and_values_count_as_they_read_not_as_they_are_spelt() {
    let text = r#"{"r\u0065sult":{"\u0063\u006f\u006e\u0074\u0065\u006e\u0074\u0073":[{"u\u0072i":"ui:\/\/w\u00e9\""}]}}"#;
    let expected = r#"{"r\u0065sult":{"\u0063\u006f\u006e\u0074\u0065\u006e\u0074\u0073":[{"u\u0072i":"ui://t+wé\""}]}}"#;
    assert_eq!(rewritten(Scope::Result, text), expected);
    // A key that only begins like one, and one longer than any.
    let text = format!(
        r#"{{"result\u0000":{{"content":[{{"uri":"a"}}]}},"result{}":{{"content":[{{"uri":"a"}}]}}}}"#,
        "x".repeat(80)
    );
    assert_eq!(rewritten(Scope::Result, &text), text);
    // No text, but still the target's: the reader may know what to do with it.
    let whole = |uri| format!(r#"{{"result":{{"contents":{{"uri":"{uri}"}}}}}}"#);
    assert_eq!(rewritten(Scope::Result, &whole(r"a:\ud800")), whole(r"t+a:\ud800"));
    assert_eq!(rewritten(Scope::Result, &whole("")), whole("t+"));
}

#[test]
fn the_first_telling_key_tells_the_kind() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{"error":1},"error":{}}"#, Kind::Result),
        (r#"{"x":{"result":1},"y":[{"method":1}],"error":{"result":1}}"#, Kind::Error),
        (r#"{"params":{"result":1,"method":2},"error":{}}"#, Kind::Error),
        (r#"{"\u006dethod":"result","params":{"result":1}}"#, Kind::Method),
        (r#" [{"method":"a"},{"result":1}]"#, Kind::Batch),
    ] {
        for scope in SCOPES {
            assert_eq!(everywhere(scope, text).unwrap(), (text.to_owned(), Some(kind), true));
        }
    }
    assert_eq!(everywhere(Scope::Result, r#"{"result"#), Ok((r#"{"result"#.into(), None, false)));
    assert_eq!(
        everywhere(Scope::Result, r#"{"result":"#),
        Ok((r#"{"result":"#.into(), Some(Kind::Result), false))
    );
    assert_eq!(everywhere(Scope::Result, "{}"), Ok(("{}".into(), None, true)));
}

#[test]
fn every_message_of_a_batch_is_rewritten() {
    let text = r#"[{"result":{"contents":[{"uri":"a"}]}},{"result":{"content":[{"uri":"b"}]}}]"#;
    let expected = r#"[{"result":{"contents":[{"uri":"t+a"}]}},{"result":{"content":[{"uri":"t+b"}]}}]"#;
    assert_eq!(rewritten(Scope::Result, text), expected);
}

#[test]
fn line_breaks_go_outside_strings_and_are_refused_inside() {
    let text = "\r\n{\n \"result\":\r\n\t{\"content\":[\n{\"uri\":\n\"a\"}\n],\"x\":{\n\"y\" : [1,\n2],\r\"z\":\"\\n\"}}\n}\r\n \n";
    let expected = "{ \"result\":\t{\"content\":[{\"uri\":\"t+a\"}],\"x\":{\"y\" : [1,2],\"z\":\"\\n\"}}} ";
    assert_eq!(rewritten(Scope::Result, text), expected);
    for text in [
        "{\"resu\nlt\":1}",
        "{\"result\":{\"content\":[{\"text\":\"a\n\"}]}}",
        "{\"result\":{\"content\":[{\"uri\":\"a\r\"}]}}",
        "{\"result\":{\"x\":{\"y\":\"a\n\ndata: forged\"}}}",
        "{\"result\":{\"x\":{\"y\":\"\\\n\"}}}",
    ] {
        assert_eq!(everywhere(Scope::Result, text), Err(Malformed), "{text:?}");
    }
}

#[test]
fn refuses_what_is_no_message() {
    for text in [
        "7",
        "null",
        "\"a\"",
        "}",
        "]",
        ",",
        "x",
        "\u{feff}{}",
        "{]",
        "[}",
        "{\"a\":1]",
        "[1}",
        "[{}}",
        "{1}",
        "{,}",
        "[,]",
        "{\"a\"}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\":1 2}",
        "{\"a\":1,}",
        "[1,]",
        "{\"a\":x}",
        "{}{}",
        "{} x",
        "[1\n2]",
        "{\"result\":{\"content\":[}}",
    ] {
        assert_eq!(everywhere(Scope::Result, text), Err(Malformed), "{text:?}");
    }
    for text in ["", " ", "{", "[", "{\"a\":{", "{\"a\":\"}", "{\"a\":[{}"] {
        assert!(!everywhere(Scope::Result, text).unwrap().2, "{text:?}");
    }
}

#[test]
fn depth_is_bounded_on_and_off_the_path() {
    let off = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let on = |levels: usize| format!("{{\"result\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let whole =
        |text: String| push(Rewriter::new(Plan::names(target(), Scope::Result), DEPTH), [text.as_bytes()]);
    for nested in [&off as &dyn Fn(usize) -> String, &on] {
        assert!(whole(nested(DEPTH - 1)).unwrap().2);
        assert_eq!(whole(nested(DEPTH)), Err(Malformed));
    }
    assert_eq!(whole("[".repeat(1_000_000)), Err(Malformed));
}

#[test]
fn a_string_over_the_cap_gets_its_prefix_at_once() {
    const CAP: usize = 64 * 1024;
    for (length, scheme, prefix) in [
        (CAP - 2, "ui://", "ui://t+"),
        (CAP - 1, "ui://", "t+ui://"),
        (3 * CAP, "ui://", "t+ui://"),
        (3 * CAP, "a:", "t+a:"),
    ] {
        let rest = "x".repeat(length - scheme.len());
        let text = format!(r#"{{"result":{{"contents":{{"uri":"{scheme}{rest}"}}}}}}"#);
        let expected = format!(r#"{{"result":{{"contents":{{"uri":"{prefix}{rest}"}}}}}}"#);
        for size in [1, 1000, CAP, text.len()] {
            let rewriter = Rewriter::new(Plan::names(target(), Scope::Result), DEPTH);
            let (out, _, complete) = push(rewriter, text.as_bytes().chunks(size)).unwrap();
            assert!(out == expected && complete, "length {length}, pieces of {size}");
        }
    }
}

#[test]
fn holds_back_no_more_than_one_capped_string() {
    let mut rewriter = Rewriter::new(Plan::names(target(), Scope::Result), DEPTH);
    let (mut pushed, mut written) = (0_usize, 0_usize);
    let mut out = Vec::new();
    let mut push = |piece: &[u8]| {
        out.clear();
        rewriter.push(piece, &mut out).unwrap();
        pushed += piece.len();
        written += out.len();
        assert!(pushed - written.min(pushed) <= 64 * 1024);
    };
    push(br#"{"result":{"content":[{"uri":""#);
    for _ in 0..1000 {
        push(&[b'u'; 1024]);
    }
    push(br#"","text":""#);
    for _ in 0..1000 {
        push(&[b'x'; 1024]);
    }
    push(br#""}]}}"#);
    assert_eq!(written, pushed + "t+".len());
}

/// Text of messages full of telling keys.
fn message() -> impl Strategy<Value = Value> {
    let key = || {
        prop::sample::select(vec![
            "result",
            "params",
            "content",
            "contents",
            "messages",
            "resource",
            "uri",
            "logger",
            "error",
            "x",
            "inputRequests",
        ])
    };
    let leaf = prop_oneof![
        "[a-z:/\"\\\\é\n]{0,8}".prop_map(Value::from),
        "[a-z]{0,4}".prop_map(|path| Value::from(format!("ui://{path}"))),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let tree = leaf.prop_recursive(6, 80, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5).prop_map(object),
        ]
    });
    prop::collection::vec((key(), tree), 0..4).prop_map(object)
}

fn object(members: Vec<(&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// What the rewriter should do, on a tree.
fn model(scope: Scope, mut message: Value) -> Value {
    fn prefix(value: Option<&mut Value>, separator: &str) {
        if let Some(Value::String(text)) = value {
            *text = match text.strip_prefix("ui://") {
                Some(rest) if separator == "+" => format!("ui://t+{rest}"),
                _ => format!("t{separator}{text}"),
            };
        }
    }
    fn each(value: Option<&mut Value>, edit: &mut dyn FnMut(&mut Value)) {
        match value {
            Some(Value::Array(values)) => values.iter_mut().for_each(|value| each(Some(value), edit)),
            Some(value @ Value::Object(_)) => edit(value),
            _ => {}
        }
    }
    let uri = |value: &mut Value| prefix(value.get_mut("uri"), "+");
    let content = |item: &mut Value| {
        prefix(item.get_mut("uri"), "+");
        each(item.get_mut("resource"), &mut |value| prefix(value.get_mut("uri"), "+"));
    };
    let messages = |value: &mut Value| {
        each(value.get_mut("messages"), &mut |message| each(message.get_mut("content"), &mut { content }));
    };
    let key = if scope == Scope::Result { "result" } else { "params" };
    each(message.get_mut(key), &mut |value| match scope {
        Scope::Result | Scope::Task => {
            each(value.get_mut("inputRequests"), &mut |asked| {
                for question in asked.as_object_mut().into_iter().flat_map(Map::values_mut) {
                    each(Some(question), &mut |asked| each(asked.get_mut("params"), &mut { messages }));
                }
            });
            each(value.get_mut("content"), &mut { content });
            each(value.get_mut("contents"), &mut { uri });
            messages(value);
        }
        Scope::Sampling => messages(value),
        Scope::Nothing => {}
    });
    message
}

proptest! {
    #[test]
    fn agrees_with_a_tree_in_any_pieces(message in message(), size in 1_usize..40, pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
        let text = text.unwrap();
        for scope in SCOPES {
            let (out, _, complete) =
                push(Rewriter::new(Plan::names(target(), scope), DEPTH), text.as_bytes().chunks(size)).unwrap();
            prop_assert!(complete);
            prop_assert!(!out.contains(['\r', '\n']));
            let expected = model(scope, message.clone());
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected, "{:?} {}", scope, text);
        }
        let (out, _, _) = push(Rewriter::new(Plan::names(None, Scope::Result), DEPTH), text.as_bytes().chunks(size)).unwrap();
        prop_assert_eq!(out, text.replace('\n', ""));
    }

    #[test]
    fn any_cut_of_anything_gives_the_same(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", "\\\"", "\n", " ", "1", "true", "\"uri\"", "\"result\":{",
                "\"content\":[{", "\"contents\":[", "\"resource\":{", "\"a\":\"b\"", "\"uri\":\"x\"", "é", "\\u00e9",
            ]),
            0..30,
        ),
        cuts in prop::collection::vec(1_usize..9, 1..40),
    ) {
        let text = format!("{{{}", parts.concat());
        let whole = push(Rewriter::new(Plan::names(target(), Scope::Result), DEPTH), [text.as_bytes()]);
        let mut pieces = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts.into_iter().cycle() {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(push(Rewriter::new(Plan::names(target(), Scope::Result), DEPTH), pieces), whole);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = push(Rewriter::new(Plan::names(target(), Scope::Result), DEPTH), [bytes.as_slice()]);
    }
}

#[test]
fn the_model_itself_edits() {
    let message = json!({"result": {"content": [{"uri": "a", "resource": {"uri": "ui://b"}}]}});
    let expected = json!({"result": {"content": [{"uri": "t+a", "resource": {"uri": "ui://t+b"}}]}});
    assert_eq!(model(Scope::Result, message), expected);
}
