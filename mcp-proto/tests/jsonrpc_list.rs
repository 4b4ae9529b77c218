//! Pages of lists: names and URIs get their target, every other byte stays.
#![cfg(test)]

use mcp_proto::jsonrpc::list::{Kind, Page, PageError, View, federate};
use mcp_proto::jsonrpc::mirror::{self, Mirror};
use proptest::prelude::*;
use routing::{Backend, BackendName, Target, TargetName, names, uris};
use serde_json::{Value, json};

const DEPTH: usize = 128;

fn target() -> TargetName {
    TargetName::parse("t").unwrap()
}

fn page(kind: Kind, text: &str) -> (Page, String) {
    let mut out = Vec::new();
    let page = federate(text.as_bytes(), kind, &View::names(&target()), DEPTH, &mut out)
        .unwrap_or_else(|e| panic!("{text}: {e}"));
    (page, String::from_utf8(out).unwrap())
}

/// The items of an answer with this list.
fn items(kind: Kind, list: &str) -> (Page, String) {
    page(kind, &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{}":[{list}]}}}}"#, kind.key()))
}

#[test]
fn kinds_know_their_methods_and_keys() {
    for (kind, method, key) in [
        (Kind::Tools, "tools/list", "tools"),
        (Kind::Prompts, "prompts/list", "prompts"),
        (Kind::Resources, "resources/list", "resources"),
        (Kind::Templates, "resources/templates/list", "resourceTemplates"),
    ] {
        assert_eq!((kind.method(), kind.key(), Kind::from_method(method)), (method, key, Some(kind)));
    }
    assert_eq!(Kind::from_method("tools/call"), None);
}

#[test]
fn takes_a_page_apart() {
    let text = r#" {"jsonrpc":"2.0","result": {"_meta" : {"big":12345678901234567890} ,
        "tools" : [ {"inputSchema":{"name":"no","x":1e400,"$defs":{}} , "name" : "a" },
        {"name":"b","title":"B"} ] , "nextCursor":"c\u0021", "ttl" : 5.0 },"id":1} "#;
    let (page, out) = page(Kind::Tools, text);
    assert_eq!(
        out,
        r#"{"inputSchema":{"name":"no","x":1e400,"$defs":{}} , "name" : "t_a" },{"name":"t_b","title":"B"}"#
    );
    let extra = vec![
        ("_meta".to_owned(), br#"{"big":12345678901234567890}"#.to_vec()),
        ("ttl".to_owned(), b"5.0".to_vec()),
    ];
    let names = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(page, Page { items: 2, next_cursor: Some("c!".into()), names, extra, ..Page::default() });
}

#[test]
fn an_empty_list_is_a_page() {
    let (page, out) = items(Kind::Tools, " ");
    assert_eq!((page, out.as_str()), (Page::default(), ""));
    let text = r#"{"result":{"tools":[],"nextCursor":null}}"#;
    assert_eq!(self::page(Kind::Tools, text).0, Page::default());
}

#[test]
fn each_kind_is_known_by_its_own_member() {
    let item = r#"{"name":"a","uri":"x:1","uriTemplate":"x:{id}","title":"A"}"#;
    for (kind, expected, names) in [
        (Kind::Tools, item.replace(r#""a""#, r#""t_a""#), vec!["a".to_owned()]),
        (Kind::Prompts, item.replace(r#""a""#, r#""t_a""#), vec!["a".to_owned()]),
        (Kind::Resources, item.replace("x:1", "t+x:1"), vec![]),
        (Kind::Templates, item.replace("x:{id}", "t+x:{id}"), vec![]),
    ] {
        let (page, out) = items(kind, item);
        assert_eq!((page.items, page.names, out), (1, names, expected));
    }
    let (_, out) = items(Kind::Resources, r#"{"\u0075ri":"ui:\/\/w"}"#);
    assert_eq!(out, r#"{"\u0075ri":"ui://t+w"}"#);
}

#[test]
fn app_links_of_tools_get_the_target_too() {
    let item = r#"{"_meta":{"ui":{"resourceUri":"ui://w","visibility":["app"]},"ui/resourceUri":"ui://v",
        "openai/outputTemplate":"ui://o","resourceUri":"ui://no"},"name":"a","resourceUri":"ui://no"}"#;
    let (_, out) = items(Kind::Tools, item);
    let expected = (item.replace("ui://w", "ui://t+w").replace("ui://v", "ui://t+v"))
        .replace("ui://o", "ui://t+o")
        .replace(r#""a""#, r#""t_a""#);
    assert_eq!(out, expected);
    let (_, out) = items(Kind::Prompts, item);
    assert_eq!(out, item.replace(r#""a""#, r#""t_a""#));
    let odd = r#"{"_meta":{"ui":"ui://w","ui/resourceUri":5,"openai/outputTemplate":["ui://o"]},"name":"a"}"#;
    assert_eq!(items(Kind::Tools, odd).1, odd.replace(r#""a""#, r#""t_a""#));
}

#[test]
fn a_shortened_name_stays_visible_as_the_title() {
    let long = "x".repeat(70);
    let short = names::federated(&target(), &long);
    let dotted = names::federated(&target(), "a.\"b");
    let list = format!(
        r#"{{"name":"{long}","a":1}},{{"title":"T","name":"a.\"b"}},{{"name":"a.\"b"}},{{"name":"c"}}"#
    );
    let (page, out) = items(Kind::Tools, &list);
    assert_eq!(
        out,
        format!(
            r#"{{"name":"{short}","title":"{long}","a":1}},{{"title":"T","name":"{dotted}"}},{{"name":"{dotted}","title":"a.\"b"}},{{"name":"t_c"}}"#
        )
    );
    let irregular = |federated: &String, original: &str| (federated.clone(), original.to_owned());
    assert_eq!(
        page.irregular,
        [irregular(&short, &long), irregular(&dotted, "a.\"b"), irregular(&dotted, "a.\"b")]
    );
    assert_eq!(page.names, [long.as_str(), "a.\"b", "a.\"b", "c"]);
}

#[test]
fn items_nobody_could_ask_for_are_left_out() {
    let list = r#"{"title":"no name"},{"name":5},{"name":"\ud800"},{"name":"a","n\u0061me":"b"},7,["name"],{"name":"ok"}"#;
    let (page, out) = items(Kind::Tools, list);
    assert_eq!((page.items, page.dropped, out.as_str()), (1, 6, r#"{"name":"t_ok"}"#));
    assert_eq!(page.names, ["ok"]);
}

/// The items of a list of tools, as `view` has them.
fn viewed(view: &View<'_>, list: &str) -> (Page, String) {
    let text = format!(r#"{{"result":{{"tools":[{list}]}}}}"#);
    let mut out = Vec::new();
    let page = federate(text.as_bytes(), Kind::Tools, view, DEPTH, &mut out).unwrap();
    (page, String::from_utf8(out).unwrap())
}

#[test]
fn the_tools_of_a_single_target_keep_their_names() {
    let list =
        r#"{"name":"a.\"b","_meta":{"ui":{"resourceUri":"ui://w"}},"execution":{"taskSupport":"required"}}"#;
    let (page, out) = viewed(&View::default(), list);
    assert_eq!((out.as_str(), page.irregular.len()), (list, 0));
    assert_eq!(page.names, ["a.\"b"]);
}

#[test]
fn execution_is_stripped_on_demand() {
    let target = target();
    for view in [View::names(&target), View::default()] {
        let view = View { strip_execution: true, ..view };
        let name = if view.target.is_some() { "t_a" } else { "a" };
        for (item, expected) in [
            (r#"{"name":"a","execution":{"x":1}}"#, r#"{"name":"a"}"#),
            (r#"{"execution":{"x":1},"name":"a"}"#, r#"{"name":"a"}"#),
            (r#"{"a":{"execution":1},"execution":0,"name":"a"}"#, r#"{"a":{"execution":1},"name":"a"}"#),
            (r#"{"name":"a","execution":0,"b":1,"execution":0}"#, r#"{"name":"a","b":1}"#),
        ] {
            let list = format!(r#"{{"name":"a"}}, {item} "#);
            let expected = format!(r#"{{"name":"a"}},{expected}"#);
            let expected = expected.replace(r#""name":"a""#, &format!(r#""name":"{name}""#));
            assert_eq!(viewed(&view, &list).1, expected);
        }
    }
    let mut out = Vec::new();
    let prompt = r#"{"result":{"prompts":[{"name":"a","execution":1}]}}"#;
    let view = View { strip_execution: true, ..View::default() };
    federate(prompt.as_bytes(), Kind::Prompts, &view, DEPTH, &mut out).unwrap();
    assert_eq!(out, br#"{"name":"a","execution":1}"#);
}

#[test]
fn tools_say_what_they_want_repeated() {
    let schema =
        |header: &str| format!(r#"{{"properties":{{"r":{{"type":"string","x-mcp-header":{header}}}}}}}"#);
    let list = format!(
        r#"{{"name":"a","inputSchema":{}}},{{"inputSchema":{},"name":"b"}},{{"name":"c","inputSchema":{{}}}}"#,
        schema(r#""Region""#),
        schema(r#""""#),
    );
    let target = target();
    for (drop_invalid, names, dropped) in [(false, &["a", "b", "c"][..], 0), (true, &["a", "c"], 1)] {
        let (page, out) = viewed(&View { drop_invalid, ..View::names(&target) }, &list);
        assert_eq!(
            (page.names.as_slice(), page.items, page.dropped),
            (&*to_owned(names), names.len(), dropped)
        );
        assert_eq!(out.contains("t_b"), !drop_invalid);
        assert_eq!(page.invalid, [("b".to_owned(), "x-mcp-header is empty")]);
        let region = Mirror { header: "Region".into(), path: vec!["r".into()], kind: mirror::Kind::String };
        assert_eq!(page.mirrors, [("a".to_owned(), vec![region])]);
        let shown: Value = serde_json::from_str(&format!("[{out}]")).unwrap();
        assert_eq!(shown.as_array().unwrap().len(), names.len());
    }
    // Prompts have no arguments that anything could be repeated of.
    let prompts = format!(r#"{{"result":{{"prompts":[{list}]}}}}"#);
    let view = View { drop_invalid: true, ..View::default() };
    let page = federate(prompts.as_bytes(), Kind::Prompts, &view, DEPTH, &mut Vec::new()).unwrap();
    assert_eq!((page.items, page.mirrors.len(), page.invalid.len()), (3, 0, 0));
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_is_no_page_leaves_no_trace() {
    for text in [
        "",
        "x",
        "[]",
        r#"{"result":{"tools":[{"name":"a"}]}"#,
        r#"{"result":{"tools":[{"name":"a"}]}} x"#,
        r#"{"result":{"tools":[{"name":"a"}],"tools":[]}}"#,
        r#"{"result":{"tools":[{"name":"a"}],"t\u006fols":[]}}"#,
        r#"{"result":{"tools":[{"name":"a"}]},"result":{"tools":[{"name":"a"}]}}"#,
        r#"{"result":{"tools":[{"name":"a"}],"nextCursor":"a","nextCursor":"b"}}"#,
        r#"{"result":{"tools":{"name":"a"}}}"#,
        r#"{"result":{"tools":null}}"#,
        r#"{"result":{"prompts":[]}}"#,
        r#"{"result":[{"tools":[{"name":"a"}]}]}"#,
    ] {
        let mut out = b"before".to_vec();
        let result = federate(text.as_bytes(), Kind::Tools, &View::names(&target()), DEPTH, &mut out);
        assert_eq!((result, out.as_slice()), (Err(PageError::Malformed), b"before".as_slice()), "{text}");
    }
    let deep =
        format!(r#"{{"result":{{"tools":[{{"name":"a","x":{}{}}}]}}}}"#, "[".repeat(125), "]".repeat(125));
    assert_eq!(
        federate(deep.as_bytes(), Kind::Tools, &View::names(&target()), DEPTH, &mut Vec::new()),
        Err(PageError::Malformed)
    );
    let invalid = b"{\"result\":{\"tools\":[{\"name\":\"a\",\"x\":\"\xff\"}]}}";
    assert_eq!(
        federate(invalid, Kind::Tools, &View::names(&target()), DEPTH, &mut Vec::new()),
        Err(PageError::Malformed)
    );
}

#[test]
fn an_error_is_told_as_the_target_said_it() {
    let error = |text: &str| {
        federate(text.as_bytes(), Kind::Tools, &View::names(&target()), DEPTH, &mut Vec::new()).unwrap_err()
    };
    let expected = |code, message: &str| PageError::Error { code, message: message.into() };
    let text = r#"{"id":1,"error":{"message":"no \u0022","code":-32601,"data":{"code":1,"message":"x"}}}"#;
    assert_eq!(error(text), expected(-32601, "no \""));
    for text in [r#"{"error":null}"#, r#"{"error":{}}"#, r#"{"error":{"code":"x","message":1}}"#] {
        assert_eq!(error(text), expected(-32603, ""), "{text}");
    }
}

proptest! {
    #[test]
    fn without_the_prefixes_it_is_the_original(
        list in prop::collection::vec(("[a-zA-Z0-9_-]{1,20}", "\\PC{0,12}", "\\PC{0,12}"), 0..6),
        pretty: bool,
    ) {
        let backend = Backend::mcp(BackendName::default(), vec![Target::new(target(), "127.0.0.1:1".parse().unwrap(), "/")]).unwrap();
        for kind in Kind::ALL {
            let original: Vec<Value> = list.iter().map(|(name, uri, text)| json!({
                "description": text, "name": name, "uri": uri, "uriTemplate": uri,
                "inputSchema": {"name": name, "uri": uri, "maximum": u64::MAX},
            })).collect();
            let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {kind.key(): &original}});
            let text = if pretty { serde_json::to_string_pretty(&answer) } else { serde_json::to_string(&answer) };
            let (page, out) = page(kind, &text.unwrap());
            prop_assert_eq!(page.items, list.len());
            let mut federated: Vec<Value> = serde_json::from_str(&format!("[{out}]")).unwrap();
            for item in &mut federated {
                let key = match kind {
                    Kind::Tools | Kind::Prompts => "name",
                    Kind::Resources => "uri",
                    Kind::Templates => "uriTemplate",
                };
                let shown = item[key].as_str().unwrap();
                item[key] = match key {
                    "name" => names::split(&backend, shown).unwrap().1.into(),
                    _ => uris::split(&backend, shown).unwrap().1.into(),
                };
            }
            prop_assert_eq!(federated, original);
        }
    }

    #[test]
    fn nothing_makes_it_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", " ", "1", "null", "{\"result\":{\"tools\":[", "{\"name\":\"a\"}",
                "\"name\":", "\"_meta\":{", "\"ui\":{", "\"error\":", "]}}",
            ]),
            0..20,
        ),
    ) {
        let _ = federate(parts.concat().as_bytes(), Kind::Tools, &View::names(&target()), DEPTH, &mut Vec::new());
    }
}
