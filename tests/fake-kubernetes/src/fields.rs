//! Places in objects that managers own: leaves of structs, items of keyed lists and sets, atomic lists as wholes.

use crate::schema::{self, ListKind};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One step on the way to a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// An item of a keyed list: its key fields as a JSON object.
    Key(String),
    /// An item of a set: its JSON.
    Item(String),
}

pub(crate) type Path = Vec<Step>;

/// What the API server keeps itself, and nobody owns.
const NOBODYS: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// The places of an object that can be owned.
pub(crate) fn places(schema: &Value, object: &Value) -> BTreeSet<Path> {
    let mut places = BTreeSet::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let schema = schema::field(schema, name);
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (inner, value) in value.as_object().into_iter().flatten() {
                    if !NOBODYS.contains(&inner.as_str()) {
                        let path = vec![Step::Field(name.clone()), Step::Field(inner.clone())];
                        collect(schema::field(schema, inner), value, path, &mut places);
                    }
                }
            }
            _ => collect(schema, value, vec![Step::Field(name.clone())], &mut places),
        }
    }
    places
}

fn collect(schema: &Value, value: &Value, path: Path, places: &mut BTreeSet<Path>) {
    let with = |step| path.iter().cloned().chain([step]).collect::<Path>();
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                collect(schema::field(schema, name), value, with(Step::Field(name.clone())), places);
            }
        }
        Value::Array(items) => match schema::list_kind(schema) {
            ListKind::Atomic => {
                places.insert(path);
            }
            ListKind::Set => places.extend(items.iter().map(|item| with(Step::Item(item.to_string())))),
            ListKind::Keyed(keys) => {
                for item in items {
                    let path = with(Step::Key(schema::key(&keys, item)));
                    places.insert(path.clone());
                    collect(schema::items(schema), item, path, places);
                }
            }
        },
        _ => {
            places.insert(path);
        }
    }
}

/// What is at a place.
pub(crate) fn at<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Key(_) | Step::Item(_) => value.as_array()?.iter().find(|item| meets(item, step)),
    })
}

/// Takes away what is at a place, and what is empty then on the way to it.
pub(crate) fn remove(value: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, value) {
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(name) {
                remove(value, rest);
                if rest.is_empty() || hollow(value) {
                    fields.remove(name);
                }
            }
        }
        (_, Value::Array(items)) => {
            if rest.is_empty() {
                items.retain(|item| !meets(item, first));
            } else if let Some(item) = items.iter_mut().find(|item| meets(item, first)) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

fn hollow(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn meets(item: &Value, step: &Step) -> bool {
    match step {
        Step::Field(_) => false,
        Step::Item(text) => serde_json::from_str::<Value>(text).is_ok_and(|wanted| wanted == *item),
        Step::Key(text) => {
            let key: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            key.iter().all(|(name, wanted)| item.get(name) == Some(wanted))
        }
    }
}

/// Lays `new` over `value`: structs by field, lists by their kind.
pub(crate) fn overlay(schema: &Value, value: &mut Value, new: &Value) {
    match (&mut *value, new) {
        (Value::Object(fields), Value::Object(new)) => {
            for (name, new) in new {
                overlay(schema::field(schema, name), fields.entry(name).or_insert(Value::Null), new);
            }
        }
        (Value::Array(items), Value::Array(new)) => match schema::list_kind(schema) {
            ListKind::Atomic => items.clone_from(new),
            ListKind::Set => {
                for item in new {
                    if !items.contains(item) {
                        items.push(item.clone());
                    }
                }
            }
            ListKind::Keyed(keys) => {
                for new in new {
                    let key = schema::key(&keys, new);
                    match items.iter_mut().find(|item| schema::key(&keys, item) == key) {
                        Some(item) => overlay(schema::items(schema), item, new),
                        None => items.push(new.clone()),
                    }
                }
            }
        },
        _ => *value = new.clone(),
    }
}

/// As it is named in conflicts: `.status.conditions[type="Accepted"].reason`.
pub(crate) fn name(path: &[Step]) -> String {
    let part = |step: &Step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Item(text) => format!("[={text}]"),
        Step::Key(text) => {
            let key: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let fields: Vec<_> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", fields.join(","))
        }
    };
    path.iter().map(part).collect()
}

/// Places as `fieldsV1` shows them.
pub(crate) fn shown(places: &BTreeSet<Path>) -> Value {
    let mut shown = Value::Object(Map::new());
    for path in places {
        let mut steps: Vec<_> = path
            .iter()
            .map(|step| match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Key(text) => format!("k:{text}"),
                Step::Item(text) => format!("v:{text}"),
            })
            .collect();
        if matches!(path.last(), Some(Step::Key(_))) {
            steps.push(".".to_owned());
        }
        let steps: Vec<_> = steps.iter().map(String::as_str).collect();
        crate::tree::set(&mut shown, &steps, Value::Object(Map::new()));
    }
    shown
}
