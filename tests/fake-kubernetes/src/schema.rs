//! Structural schemas: what a definition says about pruning, defaults, limits and how lists merge.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How a list merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Whole.
    Atomic,
    /// By these fields of its items.
    Keyed(Vec<String>),
    /// By value.
    Set,
}

/// How the list that `schema` describes merges.
pub(crate) fn list_kind(schema: &Value) -> ListKind {
    if let Some(keys) = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        return ListKind::Keyed(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// The schema of a field.
pub(crate) fn field<'s>(schema: &'s Value, name: &str) -> &'s Value {
    let properties = schema.get("properties").and_then(|properties| properties.get(name));
    properties.or_else(|| schema.get("additionalProperties")).unwrap_or(&Value::Null)
}

/// The schema of a list's items.
pub(crate) fn items(schema: &Value) -> &Value {
    schema.get("items").unwrap_or(&Value::Null)
}

/// Takes away what the schema does not know, as reading and writing a custom object does.
pub(crate) fn prune(schema: &Value, object: &mut Value) {
    let Value::Object(fields) = object else { return };
    let kept: Map<_, _> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.remove(name)?)))
        .collect();
    prune_value(schema, object);
    if let Value::Object(fields) = object {
        fields.extend(kept);
    }
}

fn prune_value(schema: &Value, value: &mut Value) {
    let keeps = |name: &str| schema.get(name).is_some_and(|flag| *flag != json!(false));
    match value {
        Value::Object(fields) => {
            if !keeps("x-kubernetes-preserve-unknown-fields") && !keeps("additionalProperties") {
                let known = schema.get("properties").and_then(Value::as_object);
                fields.retain(|name, _| known.is_some_and(|known| known.contains_key(name)));
            }
            for (name, value) in fields.iter_mut() {
                match field(schema, name) {
                    // Below a preserved field without a schema everything is preserved.
                    Value::Null => {}
                    schema => prune_value(schema, value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| prune_value(items(schema), value)),
        _ => {}
    }
}

/// Fills in defaults where their parents are there.
pub(crate) fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, schema) in properties.into_iter().flatten() {
                if let Some(default) = schema.get("default")
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                default(field(schema, name), value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| default(items(schema), value)),
        _ => {}
    }
}

/// A broken rule: reason, message, field.
pub(crate) type Cause = (&'static str, String, String);

/// Holds a value (and what it was before) against the schema.
pub(crate) fn check(
    schema: &Value,
    value: &Value,
    before: Option<&Value>,
    at: &str,
    causes: &mut Vec<Cause>,
) {
    let mut broken = |(reason, message): (_, String)| causes.push((reason, message, at.to_owned()));
    if let Some(expected) = schema.get("type").and_then(Value::as_str)
        && !is(value, expected)
    {
        return broken(("FieldValueTypeInvalid", format!("must be of type {expected}")));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        broken(("FieldValueNotSupported", format!("Unsupported value: {value}")));
    }
    if before.is_some_and(|before| before != value) && immutable(schema) {
        broken(("FieldValueInvalid", "Value is immutable".to_owned()));
    }
    outside(schema, value).into_iter().for_each(&mut broken);
    match value {
        Value::String(text) if dated(schema) && text.parse::<jiff::Timestamp>().is_err() => {
            broken(("FieldValueInvalid", format!("Invalid value: {value}: must be of type date-time")));
        }
        Value::Array(values) => {
            duplicates(schema, values).into_iter().for_each(&mut broken);
            for (place, value) in values.iter().enumerate() {
                check(items(schema), value, None, &format!("{at}[{place}]"), causes);
            }
        }
        Value::Object(fields) => {
            let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            for name in required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)) {
                causes.push(("FieldValueRequired", "Required value".to_owned(), below(name)));
            }
            for (name, value) in fields {
                let before = before.and_then(|before| before.get(name));
                check(field(schema, name), value, before, &below(name), causes);
            }
        }
        _ => {}
    }
}

fn dated(schema: &Value) -> bool {
    schema.get("format").is_some_and(|format| format == "date-time")
}

/// The limit that a value's size breaks.
fn outside(schema: &Value, value: &Value) -> Option<(&'static str, String)> {
    let (size, least, most, reason) = match value {
        Value::String(text) => (text.chars().count() as f64, "minLength", "maxLength", "FieldValueTooLong"),
        Value::Array(values) => (values.len() as f64, "minItems", "maxItems", "FieldValueTooMany"),
        _ => (value.as_f64()?, "minimum", "maximum", "FieldValueInvalid"),
    };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = limit(least).filter(|least| size < *least) {
        return Some(("FieldValueInvalid", format!("Invalid value: {size}: must be at least {least}")));
    }
    let most = limit(most).filter(|most| size > *most)?;
    Some((reason, format!("Too much: {size}: must be at most {most}")))
}

/// The items of a keyed list whose key stands before them already.
fn duplicates(schema: &Value, values: &[Value]) -> Vec<(&'static str, String)> {
    let ListKind::Keyed(keys) = list_kind(schema) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let keys = values.iter().map(|value| key(&keys, value));
    keys.filter(|key| !seen.insert(key.clone()))
        .map(|key| ("FieldValueDuplicate", format!("Duplicate value: {key}")))
        .collect()
}

/// The fields that an item of a keyed list is found by, as a JSON object.
pub(crate) fn key(keys: &[String], item: &Value) -> String {
    let fields: Map<_, _> =
        keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
    Value::Object(fields).to_string()
}

fn is(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

/// Of all rules in CEL this one alone is understood.
fn immutable(schema: &Value) -> bool {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    rules.into_iter().flatten().any(|rule| rule.get("rule").is_some_and(|rule| rule == "self == oldSelf"))
}
