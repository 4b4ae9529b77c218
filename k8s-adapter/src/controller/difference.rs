//! Whether an object is as it was applied.

use serde_json::Value;

/// Whether everything in `wanted` is in `there`, which may have more: what the API server fills in, and what others added.
/// Lists have as many items; those of objects in any order, since an apply puts what is new behind what is there.
pub(super) fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| there.get(name).is_some_and(|there| holds(there, wanted)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            let same = match wanted.iter().all(Value::is_object) {
                true => wanted.iter().all(|wanted| there.iter().any(|there| holds(there, wanted))),
                false => there.iter().zip(wanted).all(|(there, wanted)| holds(there, wanted)),
            };
            there.len() == wanted.len() && same
        }
        _ => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wanted_must_be_there_and_more_may_be() {
        let wanted = json!({ "a": { "b": 1 }, "c": [{ "d": "x" }] });
        for (there, same) in [
            (json!({ "a": { "b": 1, "more": 2 }, "c": [{ "d": "x", "more": null }], "more": [] }), true),
            (json!({ "a": { "b": 2 }, "c": [{ "d": "x" }] }), false),
            (json!({ "a": {}, "c": [{ "d": "x" }] }), false),
            (json!({ "a": { "b": 1 }, "c": [] }), false),
            (json!({ "a": { "b": 1 }, "c": [{ "d": "x" }, { "d": "y" }] }), false),
            (json!({ "a": { "b": 1 }, "c": { "d": "x" } }), false),
        ] {
            assert_eq!(holds(&there, &wanted), same, "{there}");
        }
    }

    #[test]
    fn objects_may_be_in_any_order_and_words_may_not() {
        assert!(holds(&json!([{ "port": 2 }, { "port": 1 }]), &json!([{ "port": 1 }, { "port": 2 }])));
        assert!(!holds(&json!([{ "port": 2 }, { "port": 3 }]), &json!([{ "port": 1 }, { "port": 2 }])));
        assert!(!holds(&json!(["b", "a"]), &json!(["a", "b"])));
    }
}
