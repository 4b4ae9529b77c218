//! The ways to patch, except apply.

use crate::refusal::Refusal;
use crate::schema::{self, ListKind};
use serde_json::{Map, Value};

/// RFC 7396.
pub(crate) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    let fields = object(value);
    for (name, new) in patch {
        if new.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), new);
        }
    }
}

/// As `merge`, but keyed lists merge by key, and `$patch: delete` takes an item away. Other directives are passed over.
pub(crate) fn strategic(schema: &Value, value: &mut Value, patch: &Value) {
    match (schema::list_kind(schema), patch) {
        (_, Value::Object(patch)) => {
            let fields = object(value);
            for (name, new) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                if new.is_null() {
                    fields.remove(name);
                } else {
                    let value = fields.entry(name).or_insert(Value::Null);
                    strategic(schema::field(schema, name), value, new);
                }
            }
        }
        (ListKind::Keyed(keys), Value::Array(patch)) => {
            // The first of the keys is what strategic patches go by.
            let keys = keys.get(..1).unwrap_or(&keys);
            let mut items = value.as_array().cloned().unwrap_or_default();
            for new in patch {
                let key = schema::key(keys, new);
                let place = items.iter().position(|item| schema::key(keys, item) == key);
                match (place, new.get("$patch").is_some_and(|directive| directive == "delete")) {
                    (Some(place), true) => {
                        items.remove(place);
                    }
                    (None, true) => {}
                    (Some(place), false) => {
                        if let Some(item) = items.get_mut(place) {
                            strategic(schema::items(schema), item, new);
                        }
                    }
                    (None, false) => items.push(new.clone()),
                }
            }
            *value = Value::Array(items);
        }
        _ => *value = patch.clone(),
    }
}

/// RFC 6902, without `move` and `copy`.
pub(crate) fn json(value: &mut Value, patch: &Value) -> Result<(), Refusal> {
    for operation in patch.as_array().into_iter().flatten() {
        let refuse = || Refusal::new(422, format!("the server rejected our request: {operation}"));
        let path = crate::tree::text(operation, "/path");
        let new = operation.get("value").cloned();
        let verb = crate::tree::text(operation, "/op");
        if verb == "test" {
            if value.pointer(path) == new.as_ref() {
                continue;
            }
            return Err(refuse());
        }
        let (parent, last) = path.rsplit_once('/').ok_or_else(refuse)?;
        let last = last.replace("~1", "/").replace("~0", "~");
        match (verb, value.pointer_mut(parent).ok_or_else(refuse)?, new) {
            ("add", Value::Object(fields), Some(new)) => {
                fields.insert(last, new);
            }
            ("replace", Value::Object(fields), Some(new)) => *fields.get_mut(&last).ok_or_else(refuse)? = new,
            ("remove", Value::Object(fields), _) => {
                fields.remove(&last).ok_or_else(refuse)?;
            }
            ("add", Value::Array(items), Some(new)) => {
                let place = if last == "-" { Some(items.len()) } else { last.parse().ok() };
                items.insert(place.filter(|place| *place <= items.len()).ok_or_else(refuse)?, new);
            }
            ("replace", Value::Array(items), Some(new)) => {
                let place: Option<usize> = last.parse().ok();
                *place.and_then(|place| items.get_mut(place)).ok_or_else(refuse)? = new;
            }
            ("remove", Value::Array(items), _) => {
                let place: Option<usize> = last.parse().ok();
                items.remove(place.filter(|place| *place < items.len()).ok_or_else(refuse)?);
            }
            _ => return Err(refuse()),
        }
    }
    Ok(())
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made an object"),
    }
}
