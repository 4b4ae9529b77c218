//! Wanted and stored statuses, compared and merged. No I/O, and no clock.

use crate::objects::GATEWAY_GROUP;
use serde_json::{Map, Value};

/// The longest message of a condition that the API server takes.
const LONGEST_MESSAGE: usize = 32_768;

/// Whether the status of an object that is ours altogether says what is wanted. Conditions may have any time, lists any order,
/// and the server may have filled in defaults; but nothing may be left of what was wanted earlier.
pub(super) fn says(stored: &Value, wanted: &Value) -> bool {
    let empty = Map::new();
    let stored_parts = stored.as_object().unwrap_or(&empty);
    let left_over = stored_parts.iter().any(|(name, part)| wanted.get(name).is_none() && !is_empty(part));
    !left_over && contains(stored, wanted)
}

/// The status as it is to be written: conditions get the time at which their status has changed, which is now only if it does.
pub(super) fn timed(wanted: &Value, stored: &Value, now: &str) -> Value {
    match wanted {
        Value::Object(parts) => {
            let parts = parts.iter().map(|(name, part)| {
                let before = stored.get(name).unwrap_or(&Value::Null);
                (name.clone(), timed(part, before, now))
            });
            let mut object: Map<String, Value> = parts.collect();
            if is_condition(&object) {
                time(&mut object, stored, now);
            }
            Value::Object(object)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| timed(item, counterpart(item, stored), now));
            Value::Array(items.collect())
        }
        other => other.clone(),
    }
}

/// The status of a route with our entries in place of those we wrote before, or none if it says that already. The entries of
/// others stay as they are, and where they are: the list is one value for the server.
pub(super) fn merged(stored: &Value, wanted: &Value, controller: &str, now: &str) -> Option<Value> {
    let none = Vec::new();
    let entries = stored.get("parents").and_then(Value::as_array).unwrap_or(&none);
    let wishes = wanted.get("parents").and_then(Value::as_array).unwrap_or(&none);
    let is_ours = |entry: &&Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller);
    let ours: Vec<&Value> = entries.iter().filter(is_ours).collect();
    let said = |wish: &Value| ours.iter().any(|entry| same(wish, entry) && contains(entry, wish));
    if ours.len() == wishes.len() && wishes.iter().all(said) {
        return None;
    }
    let mut open: Vec<&Value> = wishes.iter().collect();
    let mut parents = Vec::new();
    for entry in entries {
        if !is_ours(&entry) {
            parents.push(entry.clone());
        } else if let Some(place) = open.iter().position(|wish| same(wish, entry)) {
            parents.push(timed(open.remove(place), entry, now));
        }
    }
    parents.extend(open.into_iter().map(|wish| timed(wish, &Value::Null, now)));
    let mut status = stored.as_object().cloned().unwrap_or_default();
    status.insert("parents".to_owned(), Value::Array(parents));
    Some(Value::Object(status))
}

/// Whether something is reported as missing that may only not have been created yet.
pub(super) fn reports_missing_backend(status: &Value) -> bool {
    match status {
        Value::Object(parts) => parts.iter().any(|(name, part)| {
            (name == "reason" && part == "BackendNotFound") || reports_missing_backend(part)
        }),
        Value::Array(items) => items.iter().any(reports_missing_backend),
        _ => false,
    }
}

/// Whether all that is wanted is there.
fn contains(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (stored, wanted) if is_empty(wanted) => is_empty(stored),
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(name, part)| contains(stored.get(name).unwrap_or(&Value::Null), part))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len()
                && wanted.iter().all(|item| stored.iter().any(|stored| contains(stored, item)))
        }
        (stored, wanted) => stored == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(parts) => parts.is_empty(),
        _ => false,
    }
}

/// The entry of a stored list that is about the same thing.
fn counterpart<'a>(item: &Value, stored: &'a Value) -> &'a Value {
    let mut entries = stored.as_array().into_iter().flatten();
    entries.find(|entry| same(item, entry)).unwrap_or(&Value::Null)
}

/// Whether two entries are about the same thing: a parent, something with a name, or a condition of a type.
fn same(one: &Value, other: &Value) -> bool {
    if let Some(reference) = one.get("parentRef") {
        return other.get("parentRef").is_some_and(|other| same_parent(reference, other));
    }
    let part = if one.get("name").is_some() { "name" } else { "type" };
    one.get(part).is_some() && one.get(part) == other.get(part)
}

/// Whether two references, one perhaps with the defaults of the definition filled in, name the same parent.
fn same_parent(one: &Value, other: &Value) -> bool {
    let group = Value::from(GATEWAY_GROUP);
    let kind = Value::from("Gateway");
    let parts = [
        ("group", &group),
        ("kind", &kind),
        ("namespace", &Value::Null),
        ("name", &Value::Null),
        ("sectionName", &Value::Null),
        ("port", &Value::Null),
    ];
    parts
        .into_iter()
        .all(|(part, default)| one.get(part).unwrap_or(default) == other.get(part).unwrap_or(default))
}

fn is_condition(object: &Map<String, Value>) -> bool {
    ["type", "status", "reason"].into_iter().all(|part| object.get(part).is_some_and(Value::is_string))
}

fn time(condition: &mut Map<String, Value>, stored: &Value, now: &str) {
    let since = match stored.get("lastTransitionTime") {
        Some(Value::String(since)) if stored.get("status") == condition.get("status") => since,
        _ => now,
    };
    condition.insert("lastTransitionTime".to_owned(), Value::from(since));
    if let Some(Value::String(message)) = condition.get_mut("message")
        && message.len() > LONGEST_MESSAGE
    {
        let end = (0..=LONGEST_MESSAGE - 3).rev().find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or_default());
        message.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-01-01T00:00:00Z";
    const THEN: &str = "2020-01-01T00:00:00Z";

    fn condition(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": 2})
    }

    fn since(mut condition: Value, time: &str) -> Value {
        condition["lastTransitionTime"] = json!(time);
        condition
    }

    fn entry(gateway: &str, controller: &str, conditions: &[Value]) -> Value {
        json!({"parentRef": {"name": gateway}, "controllerName": controller, "conditions": conditions})
    }

    #[test]
    fn a_condition_keeps_its_time_as_long_as_its_status_stays() {
        let stored =
            json!({"conditions": [since(condition("A", "True"), THEN), since(condition("B", "True"), THEN)]});
        let mut wanted =
            json!({"conditions": [condition("B", "False"), condition("A", "True"), condition("C", "True")]});
        wanted["conditions"][1]["message"] = json!("other");
        let expected = [
            since(condition("B", "False"), NOW),
            since(wanted["conditions"][1].clone(), THEN),
            since(condition("C", "True"), NOW),
        ];
        assert_eq!(timed(&wanted, &stored, NOW), json!({ "conditions": expected }));
    }

    #[test]
    fn conditions_of_listeners_are_found_by_the_name_of_the_listener() {
        let listener = |name: &str, condition: Value| json!({"name": name, "conditions": [condition]});
        let stored = json!({"listeners": [
            listener("b", since(condition("A", "True"), THEN)),
            listener("a", since(condition("A", "False"), THEN)),
        ]});
        let wanted = json!({"listeners": [listener("a", condition("A", "True")), listener("b", condition("A", "True"))]});
        let expected = [
            listener("a", since(condition("A", "True"), NOW)),
            listener("b", since(condition("A", "True"), THEN)),
        ];
        assert_eq!(timed(&wanted, &stored, NOW), json!({ "listeners": expected }));
    }

    #[test]
    fn a_status_says_what_is_wanted_whatever_the_server_added() {
        let wanted = json!({
            "conditions": [condition("A", "True"), condition("B", "False")],
            "addresses": [{"type": "IPAddress", "value": "1.1.1.1"}, {"type": "IPAddress", "value": "1.1.1.2"}],
            "listeners": [{"name": "a", "attachedRoutes": 0, "supportedKinds": []}],
        });
        let stored = json!({
            "conditions": [since(condition("B", "False"), THEN), since(condition("A", "True"), THEN)],
            "addresses": [{"type": "IPAddress", "value": "1.1.1.1"}, {"type": "IPAddress", "value": "1.1.1.2"}],
            "listeners": [{"name": "a", "attachedRoutes": 0, "default": 1}],
            "nothing": [],
        });
        assert!(says(&stored, &wanted));
        let broken = |path: &str, value: Value| {
            let mut stored = stored.clone();
            *stored.pointer_mut(path).unwrap() = value;
            !says(&stored, &wanted)
        };
        assert!(broken("/conditions/0/status", json!("True")));
        assert!(broken("/conditions/1/observedGeneration", json!(1)));
        assert!(broken("/addresses/1/value", json!("1.1.1.1")));
        assert!(broken("/listeners/0/attachedRoutes", json!(1)));
        assert!(broken("/nothing", json!(["left over"])));
        assert!(broken("/listeners", json!([{"name": "a", "attachedRoutes": 0}, {"name": "gone"}])));
        assert!(!says(&Value::Null, &wanted));
    }

    #[test]
    fn entries_of_others_stay_where_they_are() {
        let stored = json!({"parents": [
            entry("x", "other", &[since(condition("A", "True"), THEN)]),
            entry("gone", "us", &[]),
            entry("g", "us", &[since(condition("A", "True"), THEN)]),
            entry("g", "other", &[]),
        ], "more": 1});
        let wanted = json!({"parents": [entry("new", "us", &[condition("A", "False")]), entry("g", "us", &[condition("A", "True")])]});
        let merged = merged(&stored, &wanted, "us", NOW).unwrap();
        assert_eq!(
            merged,
            json!({"parents": [
            entry("x", "other", &[since(condition("A", "True"), THEN)]),
            entry("g", "us", &[since(condition("A", "True"), THEN)]),
            entry("g", "other", &[]),
            entry("new", "us", &[since(condition("A", "False"), NOW)]),
        ], "more": 1})
        );
        assert_eq!(super::merged(&merged, &wanted, "us", "later"), None, "nothing to write the second time");
    }

    #[test]
    fn two_parents_at_one_gateway_are_two_entries() {
        let part = |section: &str, status: &str, time: Option<&str>| {
            let condition =
                time.map_or_else(|| condition("A", status), |time| since(condition("A", status), time));
            json!({"parentRef": {"name": "g", "sectionName": section}, "controllerName": "us", "conditions": [condition]})
        };
        let stored = json!({"parents": [part("a", "True", Some(THEN)), part("b", "True", Some(THEN))]});
        let wanted = json!({"parents": [part("b", "False", None), part("a", "True", None)]});
        let expected = json!({"parents": [part("a", "True", Some(THEN)), part("b", "False", Some(NOW))]});
        assert_eq!(merged(&stored, &wanted, "us", NOW), Some(expected));
    }

    #[test]
    fn defaults_that_the_server_filled_in_make_no_other_parent() {
        let mut stored = entry("g", "us", &[since(condition("A", "True"), THEN)]);
        stored["parentRef"] = json!({"name": "g", "group": GATEWAY_GROUP, "kind": "Gateway"});
        let wanted = json!({"parents": [entry("g", "us", &[condition("A", "True")])]});
        assert_eq!(merged(&json!({"parents": [stored.clone()]}), &wanted, "us", NOW), None);
        // A section of the Gateway is another parent than all of it.
        stored["parentRef"]["sectionName"] = json!("a");
        let merged = merged(&json!({"parents": [stored]}), &wanted, "us", NOW).unwrap();
        assert_eq!(merged["parents"][0]["parentRef"], json!({"name": "g"}));
        assert_eq!(merged["parents"][0]["conditions"][0]["lastTransitionTime"], NOW);
    }

    #[test]
    fn our_entries_go_when_none_is_wanted() {
        let stored = json!({"parents": [entry("g", "us", &[]), entry("g", "other", &[])]});
        let wanted = json!({"parents": []});
        assert_eq!(merged(&stored, &wanted, "us", NOW), Some(json!({"parents": [entry("g", "other", &[])]})));
        assert_eq!(merged(&Value::Null, &wanted, "us", NOW), None);
        assert_eq!(merged(&json!({"parents": [entry("g", "other", &[])]}), &wanted, "us", NOW), None);
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        let mut long = condition("A", "True");
        long["message"] = json!("é".repeat(20_000));
        let timed = timed(&long, &Value::Null, NOW);
        let message = timed["message"].as_str().unwrap();
        assert!(message.len() <= LONGEST_MESSAGE && message.ends_with("é..."), "{}", message.len());
    }

    #[test]
    fn a_missing_backend_is_seen_anywhere() {
        let mut missing = condition("ResolvedRefs", "False");
        assert!(!reports_missing_backend(&missing));
        missing["reason"] = json!("BackendNotFound");
        assert!(reports_missing_backend(&json!({"parents": [entry("g", "us", &[missing])]})));
    }
}
