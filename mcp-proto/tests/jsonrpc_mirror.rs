//! Arguments that are repeated in the head: which, with what value, in what spelling.
#![cfg(test)]

use mcp_proto::jsonrpc::mirror::{Kind, Mirror, decode, encode, matches, mirrors, values};
use proptest::prelude::*;
use serde_json::json;
use std::borrow::Cow;

fn mirror(header: &str, path: &[&str], kind: Kind) -> Mirror {
    Mirror { header: header.into(), path: path.iter().map(|key| (*key).to_owned()).collect(), kind }
}

#[test]
fn annotations_are_found_down_a_chain_of_properties() {
    let schema = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "in":{"type":"object","properties":{"n":{"x-mcp-header":"N!#$%&'*+-.^_`|~9","type":"integer"},
            "properties":{"properties":{"x-mcp-header":{"x-mcp-\u0068eader":"B","type":"boolean"}}}}},
        "type":{"type":"string"},"x-mcp-header":{"type":"string"}},
        "required":["region"],"default":{"x-mcp-header":"data"},"examples":[{"x-mcp-header":"data"}],
        "enum":[{"x-mcp-header":1}],"const":{"x-mcp-header":1},"x-other":{"x-mcp-header":"data"}}"#;
    let expected = [
        mirror("Region", &["region"], Kind::String),
        mirror("N!#$%&'*+-.^_`|~9", &["in", "n"], Kind::Integer),
        mirror("B", &["in", "properties", "x-mcp-header"], Kind::Boolean),
    ];
    assert_eq!(mirrors(schema.as_bytes()).as_deref(), Ok(&expected[..]));
    for schema in
        ["", "{}", "true", "null", r#"{"properties":{"a":{"type":"string"}}}"#, r#"{"properties":true}"#]
    {
        assert_eq!(mirrors(schema.as_bytes()), Ok(vec![]));
    }
}

#[test]
fn an_annotation_that_breaks_a_rule_is_told() {
    let place = "x-mcp-header where not only properties lead to";
    let kind = "x-mcp-header on something else than a string, an integer or a boolean";
    let no_name = "x-mcp-header is no field name";
    let argument = r#"{"type":"string","x-mcp-header":"A"}"#;
    let mut cases: Vec<(String, &str)> = Vec::new();
    for (properties, rule) in [
        (r#""a":{"type":"string","x-mcp-header":""}"#, "x-mcp-header is empty"),
        (r#""a":{"type":"string","x-mcp-header":"My Region"}"#, no_name),
        (r#""a":{"type":"string","x-mcp-header":"Region:Primary"}"#, no_name),
        (r#""a":{"type":"string","x-mcp-header":"Région"}"#, no_name),
        (r#""a":{"type":"string","x-mcp-header":"Region\t1"}"#, no_name),
        (r#""a":{"type":"string","x-mcp-header":"a\r\nb"}"#, no_name),
        (r#""a":{"type":"string","x-mcp-header":7}"#, "x-mcp-header is a string"),
        (r#""a":{"type":"string","x-mcp-header":{"x-mcp-header":"A"}}"#, "x-mcp-header is a string"),
        (r#""a":{"type":"string","x-mcp-header":"\ud800"}"#, "x-mcp-header is a string"),
        (r#""a":{"type":"string","x-mcp-header":"A","x-mcp-header":"B"}"#, "x-mcp-header occurs twice"),
        (r#""a":{"type":"number","x-mcp-header":"A"}"#, kind),
        (r#""a":{"type":"object","x-mcp-header":"A"}"#, kind),
        (r#""a":{"type":"array","x-mcp-header":"A"}"#, kind),
        (r#""a":{"type":"null","x-mcp-header":"A"}"#, kind),
        (r#""a":{"type":["string","null"],"x-mcp-header":"A"}"#, kind),
        (r#""a":{"x-mcp-header":"A"}"#, kind),
        (r#""a":{"type":"string","type":"integer","x-mcp-header":"A"}"#, kind),
        (
            r#""\ud800":{"type":"string","x-mcp-header":"A"}"#,
            "x-mcp-header on an argument whose name is no text",
        ),
        (
            r#""a":{"type":"string","x-mcp-header":"My"},"b":{"properties":{"c":{"type":"string","x-mcp-header":"mY"}}}"#,
            "two arguments with the same x-mcp-header",
        ),
    ] {
        cases.push((format!(r#"{{"properties":{{{properties}}}}}"#), rule));
    }
    for keyword in ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"]
    {
        cases.push((format!(r#"{{"properties":{{"a":{{"{keyword}":{argument}}}}}}}"#), place));
        cases.push((format!(r#"{{"{keyword}":{{"properties":{{"a":{argument}}}}}}}"#), place));
    }
    for keyword in ["oneOf", "anyOf", "allOf", "prefixItems", "items"] {
        cases.push((format!(r#"{{"{keyword}":[{{}},{{"properties":{{"a":{argument}}}}}]}}"#), place));
    }
    for keyword in ["$defs", "definitions", "patternProperties", "dependentSchemas"] {
        cases.push((format!(r#"{{"{keyword}":{{"x":{argument}}}}}"#), place));
    }
    cases.push((argument.into(), place));
    cases.push((format!(r#"{{"properties":{{"a":{{"not":{{"items":{argument}}}}}}}}}"#), place));
    cases.push((format!(r#"{{"x-mcp-header":{argument}"#), "the schema is no JSON or too deep"));
    let (open, close) = (r#"{"not":"#.repeat(200), "}".repeat(200));
    cases.push((format!("{open}{argument}{close}"), "the schema is no JSON or too deep"));
    for (schema, rule) in cases {
        assert_eq!(mirrors(schema.as_bytes()), Err(rule), "{schema}");
    }
}

#[test]
fn values_come_as_text() {
    let texts = |kind, value: &str| {
        let arguments = format!(r#"{{"x":0,"a":{{"b":{value}}}}}"#);
        let mirrors = [mirror("H", &["a", "b"], kind)];
        values(Some(arguments.as_bytes()), &mirrors).map(|found| found[0].1.clone())
    };
    for (kind, value, text) in [
        (Kind::String, r#""us\u002dwest1""#, Some("us-west1")),
        (Kind::String, r#""""#, Some("")),
        (Kind::String, "null", None),
        (Kind::String, "{}", None),
        (Kind::String, "[1]", None),
        (Kind::String, "1.50", Some("1.50")),
        (Kind::Boolean, "true", Some("true")),
        (Kind::Boolean, "false", Some("false")),
        (Kind::Integer, "42", Some("42")),
        (Kind::Integer, "-7", Some("-7")),
        (Kind::Integer, "42.0", Some("42")),
        (Kind::Integer, "4.2e1", Some("42")),
        (Kind::Integer, "-0", Some("0")),
        (Kind::Integer, "1.5", Some("1.5")),
        (Kind::Integer, "9007199254740991", Some("9007199254740991")),
        (Kind::Integer, "9007199254740993", Some("9007199254740993")),
        (Kind::Integer, "1e400", Some("1e400")),
        (Kind::Integer, "true", Some("true")),
    ] {
        assert_eq!(texts(kind, value), Ok(text.map(str::to_owned)), "{value}");
    }
    assert_eq!(texts(Kind::String, r#""\ud800""#), Err("an argument with a lone surrogate"));
}

#[test]
fn values_are_found_where_the_path_leads() {
    let mirrors = [
        mirror("A", &["a"], Kind::String),
        mirror("B", &["o", "b"], Kind::String),
        mirror("C", &["o", "c"], Kind::String),
        mirror("D", &["o", "p", "d"], Kind::String),
    ];
    let found = |arguments: &str| {
        let found = values(Some(arguments.as_bytes()), &mirrors)?;
        assert_eq!(found.iter().map(|(header, _)| *header).collect::<String>(), "ABCD");
        Ok::<_, &str>(
            found.into_iter().map(|(_, text)| text.unwrap_or_else(|| "-".into())).collect::<String>(),
        )
    };
    assert_eq!(found(r#"{"o":{"c":"3","p":{"d":"4"},"b":"2"},"a":"1"}"#), Ok("1234".into()));
    assert_eq!(found(r#"{"o":{"p":[{"d":"4"}],"d":"5"},"b":"2"}"#), Ok("----".into()));
    assert_eq!(found(r#"{"o":"x","a":null,"x":1,"x":2}"#), Ok("----".into()));
    for arguments in ["[]", "null", "7"] {
        assert_eq!(found(arguments), Ok("----".into()));
    }
    for arguments in [r#"{"a":"1","a":"2"}"#, r#"{"o":{},"\u006f":{}}"#, r#"{"o":{"p":{"d":"1","d":"1"}}}"#] {
        assert_eq!(found(arguments), Err("an argument occurs twice"));
    }
    assert_eq!(values(None, &mirrors[..1]), Ok(vec![("A", None)]));
    assert_eq!(values(Some(b"{}"), &[]), Ok(vec![]));
}

#[test]
fn values_are_spelt_as_the_specification_has_it() {
    for (text, value) in [
        ("us-west1", "us-west1"),
        ("", ""),
        ("a b", "a b"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("a\tb", "=?base64?YQli?="),
        ("\u{7f}", "=?base64?fw==?="),
        ("=?base64?x", "=?base64?x"),
        ("=?BASE64?literal?=", "=?BASE64?literal?="),
        ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
    ] {
        assert_eq!(encode(text), value);
        assert_eq!(decode(value.as_bytes()).as_deref(), Some(text));
    }
    assert_eq!(decode(b"a\tb").as_deref(), Some("a\tb"));
    assert_eq!(decode(b"=?base64??=").as_deref(), Some(""));
    for value in [
        &b"=?base64?SGVsbG8?="[..],
        b"=?base64?SGVs bG8=?=",
        b"=?base64?SGVsbG9=?=",
        b"=?base64?-_8=?=",
        b"=?base64?/w==?=",
        b"=?base64?=",
        b"a\r",
        b"a\0b",
        "\u{e9}".as_bytes(),
        b"\xff",
        b"\x7f",
    ] {
        assert_eq!(decode(value), None, "{value:?}");
    }
    assert!(matches!(decode(b"plain"), Some(Cow::Borrowed("plain"))));
}

#[test]
fn integers_match_as_numbers_and_the_rest_as_text() {
    use Kind::{Boolean, Integer, String};
    for (kind, header, argument, equal) in [
        (Integer, "42", "42", true),
        (Integer, "42.0", "42", true),
        (Integer, "4.2e1", "42", true),
        (Integer, "-0", "0", true),
        (Integer, "43", "42", false),
        (Integer, "42.5", "42", false),
        (Integer, "+42", "42", false),
        (Integer, "042", "42", false),
        (Integer, " 42", "42", false),
        (Integer, "42 ", "42", false),
        (Integer, "0x2a", "42", false),
        (Integer, "NaN", "NaN", true),
        (Integer, "", "0", false),
        (Integer, "9007199254740992", "9007199254740993", false),
        (Integer, "9007199254740993", "9007199254740993", true),
        (Integer, "1.5", "1.5", true),
        (Integer, "1e400", "2e400", false),
        (String, "a", "a", true),
        (String, "a", "A", false),
        (String, "42.0", "42", false),
        (Boolean, "true", "true", true),
        (Boolean, "True", "true", false),
        (Boolean, "1", "true", false),
    ] {
        assert_eq!(matches(kind, header, argument), equal, "{header} {argument}");
    }
}

proptest! {
    #[test]
    fn any_text_survives(text in r"\PC{0,12}|[\x00-\xff]{0,12}|=\?base64\?[a-z?=]{0,4}\?=") {
        let value = encode(&text);
        prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(value.trim(), &*value);
        let decoded = decode(value.as_bytes());
        prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(value: Vec<u8>) {
        let _ = decode(&value);
        let _ = mirrors(&value);
        let _ = values(Some(&value), &[mirror("A", &["a"], Kind::String)]);
    }

    #[test]
    fn any_integer_matches_itself(n: i64) {
        let arguments = json!({"a": n}).to_string();
        let mirrors = [mirror("A", &["a"], Kind::Integer)];
        let found = values(Some(arguments.as_bytes()), &mirrors).unwrap();
        prop_assert!(matches(Kind::Integer, &n.to_string(), found[0].1.as_deref().unwrap()));
    }
}
