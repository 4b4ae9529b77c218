//! Objects as tables, which is how `kubectl get` asks for them.

use crate::kinds::Kind;
use crate::tree;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A list or an object as a table; anything else is left as it is.
pub(crate) fn table(kind: &Kind, shown: Value, now: &str) -> Value {
    let objects = match shown.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None if tree::text(&shown, "/kind") == kind.kind => vec![shown.clone()],
        None => return shown,
    };
    let names = ["Name"].into_iter().chain(kind.columns.iter().map(|(name, _)| name.as_str())).chain(["Age"]);
    let columns: Vec<_> = names
        .map(|name| {
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
        })
        .collect();
    let rows: Vec<_> = objects.into_iter().map(|object| row(kind, object, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": shown.get("metadata"),
        "columnDefinitions": columns, "rows": rows,
    })
}

fn row(kind: &Kind, object: Value, now: &str) -> Value {
    let mut cells = vec![json!(tree::text(&object, "/metadata/name"))];
    cells.extend(kind.columns.iter().map(|(_, path)| {
        let found: Vec<_> = find(&object, path)
            .into_iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        json!(found.join(","))
    }));
    cells.push(json!(age(tree::text(&object, "/metadata/creationTimestamp"), now)));
    let part = json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata"),
    });
    json!({"cells": cells, "object": part})
}

/// The values at a path of fields, `[*]` and `[?(@.field=="text")]`.
fn find<'v>(object: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![object];
    for step in path.replace("[?(@.", ".?").replace('[', ".[").split('.').filter(|step| !step.is_empty()) {
        let items = |value: &'v Value| value.as_array().into_iter().flatten();
        found = match (step, step.strip_prefix('?').and_then(|test| test.split_once("=="))) {
            (_, Some((field, text))) => {
                let text = text.trim_end_matches(")]").trim_matches(['"', '\'']);
                let met = |value: &&Value| value.get(field).is_some_and(|value| value == text);
                found.into_iter().flat_map(items).filter(met).collect()
            }
            ("[*]", None) => found.into_iter().flat_map(items).collect(),
            (name, None) => found.into_iter().filter_map(|value| value.get(name)).collect(),
        };
    }
    found
}

fn age(since: &str, now: &str) -> String {
    let second = |text: &str| text.parse().map_or(0, Timestamp::as_second);
    match second(now).saturating_sub(second(since)).max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use serde_json::json;

    #[test]
    fn columns_find_fields_items_and_conditions() {
        let object = json!({"spec": {"class": "a"}, "status": {
            "addresses": [{"value": "x"}, {"value": "y"}],
            "conditions": [{"type": "A", "status": "False"}, {"type": "B", "status": "True"}],
        }});
        assert_eq!(find(&object, ".spec.class"), [&json!("a")]);
        assert_eq!(find(&object, ".status.addresses[*].value"), [&json!("x"), &json!("y")]);
        assert_eq!(find(&object, ".status.conditions[?(@.type==\"B\")].status"), [&json!("True")]);
        assert_eq!(find(&object, ".status.nothing").len(), 0);
    }
}
