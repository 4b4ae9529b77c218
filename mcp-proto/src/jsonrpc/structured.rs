//! Structured results of tools, which may be any JSON value since 2026-07-28 and are objects before: one that is none
//! becomes the only member of one, `result`, and so does what its schema says of it.

use super::members::{Member, members};
use memchr::memmem;

/// What stands before and behind a value that is no object.
pub(crate) const OPENING: &[u8] = b"{\"result\":";
pub(crate) const CLOSING: u8 = b'}';

/// The schema of a tool's results for a client of an earlier revision; `None` where it is good as it is.
pub(crate) fn schema(raw: &[u8]) -> Option<Vec<u8>> {
    // `true` and `false` are schemas as well.
    let members = members(raw).unwrap_or_default();
    let value = |key: &[u8]| {
        let member = members.iter().find(|member: &&Member| member.key == key)?;
        raw.get(member.span.clone())
    };
    let kind = value(b"type");
    if kind == Some(b"\"object\"") {
        return None;
    }
    let mut out = b"{\"type\":\"object\"".to_vec();
    if points_elsewhere(raw) {
        // What it points to would stand in another place. That it is an object can be said of any result.
        out.push(b'}');
        return Some(out);
    }
    for key in ["$schema", "$defs", "definitions"] {
        if let Some(value) = value(key.as_bytes()) {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            out.extend_from_slice(value);
        }
    }
    let wrapped = [b"\"properties\":{\"result\":", raw, b"},\"required\":[\"result\"]"].concat();
    // An object passes as it is.
    let may_be_object = kind.is_none_or(|kind| memmem::find(kind, b"\"object\"").is_some());
    match may_be_object {
        true => out.extend_from_slice(&[b",\"anyOf\":[", raw, b",{", &wrapped, b"}]}"].concat()),
        false => out.extend_from_slice(&[b",", &wrapped[..], b"}"].concat()),
    }
    Some(out)
}

/// Whether a reference leads to another place of the schema than its definitions.
fn points_elsewhere(raw: &[u8]) -> bool {
    let mut references = memmem::find_iter(raw, b"\"#");
    references.any(|at| {
        let rest = raw.get(at + 2..).unwrap_or_default();
        !rest.starts_with(b"/$defs/") && !rest.starts_with(b"/definitions/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_results_that_may_be_no_object_are_wrapped() {
        for (raw, expected) in [
            (r#"{"type":"object","properties":{}}"#, None),
            (
                r#"{"type":"array","items":{"type":"number"}}"#,
                Some(
                    r#"{"type":"object","properties":{"result":{"type":"array","items":{"type":"number"}}},"required":["result"]}"#,
                ),
            ),
            (
                r##"{"type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{}}}"##,
                Some(
                    r##"{"type":"object","$defs":{"a":{}},"properties":{"result":{"type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{}}}},"required":["result"]}"##,
                ),
            ),
            (
                r#"{"type":["object","null"]}"#,
                Some(
                    r#"{"type":"object","anyOf":[{"type":["object","null"]},{"properties":{"result":{"type":["object","null"]}},"required":["result"]}]}"#,
                ),
            ),
            (
                "true",
                Some(
                    r#"{"type":"object","anyOf":[true,{"properties":{"result":true},"required":["result"]}]}"#,
                ),
            ),
            (r##"{"type":"array","items":{"$ref":"#"}}"##, Some(r#"{"type":"object"}"#)),
        ] {
            let wrapped = schema(raw.as_bytes()).map(|schema| String::from_utf8(schema).unwrap());
            assert_eq!(wrapped.as_deref(), expected, "{raw}");
        }
    }
}
