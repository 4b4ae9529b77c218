//! Reading and writing places in JSON trees.

use serde_json::{Map, Value};

/// The text at a JSON pointer; empty where there is none.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Puts `new` where `path` leads to, making objects on the way.
pub(crate) fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(map) = value {
        set(map.entry(*first).or_insert(Value::Null), rest, new);
    }
}

/// Takes away and returns what `path` leads to.
pub(crate) fn take(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let map = value.as_object_mut()?;
    if rest.is_empty() { map.remove(*first) } else { take(map.get_mut(*first)?, rest) }
}

/// Gives `value` at `path` what `from` has there, or nothing if it has nothing.
pub(crate) fn carry(value: &mut Value, from: &Value, path: &[&str]) {
    match path.iter().try_fold(from, |place, step| place.get(step)) {
        Some(found) => set(value, path, found.clone()),
        None => {
            take(value, path);
        }
    }
}
