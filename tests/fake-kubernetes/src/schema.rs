//! Structural schemas: what a definition says about pruning, defaults, limits and how lists merge.

use serde_json::{Map, Value, json};

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
    let number = |name: &str| schema.get(name).and_then(Value::as_f64);
    let mut broken = |reason, message: String| causes.push((reason, message, at.to_owned()));
    if let Some(expected) = schema.get("type").and_then(Value::as_str)
        && !is(value, expected)
    {
        return broken("FieldValueTypeInvalid", format!("must be of type {expected}"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        broken("FieldValueNotSupported", format!("Unsupported value: {value}"));
    }
    if before.is_some_and(|before| before != value) && immutable(schema) {
        broken("FieldValueInvalid", "Value is immutable".to_owned());
    }
    let outside = |found| {
        number("minimum").is_some_and(|least| found < least)
            || number("maximum").is_some_and(|most| found > most)
    };
    if value.as_f64().is_some_and(outside) {
        broken("FieldValueInvalid", format!("Invalid value: {value}"));
    }
    match value {
        Value::String(text) => {
            let length = text.chars().count() as f64;
            if number("minLength").is_some_and(|least| length < least) {
                broken("FieldValueInvalid", format!("Invalid value: {value}: is too short"));
            }
            if number("maxLength").is_some_and(|most| length > most) {
                broken("FieldValueTooLong", "Too long".to_owned());
            }
            let dated = schema.get("format").is_some_and(|format| format == "date-time");
            if dated && text.parse::<jiff::Timestamp>().is_err() {
                broken("FieldValueInvalid", format!("Invalid value: {value}: must be of type date-time"));
            }
        }
        Value::Array(values) => {
            let length = values.len() as f64;
            if number("minItems").is_some_and(|least| length < least) {
                broken(
                    "FieldValueInvalid",
                    format!("should have at least {} items", number("minItems").unwrap_or_default()),
                );
            }
            if number("maxItems").is_some_and(|most| length > most) {
                broken(
                    "FieldValueTooMany",
                    format!(
                        "Too many: {length}: must have at most {} items",
                        number("maxItems").unwrap_or_default()
                    ),
                );
            }
            if let ListKind::Keyed(keys) = list_kind(schema) {
                let keys: Vec<_> = values.iter().map(|value| key(&keys, value)).collect();
                for (place, key) in keys.iter().enumerate() {
                    if keys.iter().take(place).any(|earlier| earlier == key) {
                        broken("FieldValueDuplicate", format!("Duplicate value: {key}"));
                    }
                }
            }
            for (place, value) in values.iter().enumerate() {
                check(items(schema), value, None, &format!("{at}[{place}]"), causes);
            }
        }
        Value::Object(fields) => {
            let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            for name in schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !fields.contains_key(name) {
                    causes.push(("FieldValueRequired", "Required value".to_owned(), below(name)));
                }
            }
            for (name, value) in fields {
                let before = before.and_then(|before| before.get(name));
                check(field(schema, name), value, before, &below(name), causes);
            }
        }
        _ => {}
    }
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
