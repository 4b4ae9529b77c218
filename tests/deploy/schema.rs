//! As much of `openAPIV3Schema` as the Backend's definition uses, as strict as `kubectl apply`: a field that the schema
//! does not know is an error, and so is a keyword that this does not know.

use serde_json::Value;

/// What is wrong with `value`, each with its place.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(schema, value, "", &mut problems);
    problems
}

fn check(schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let kind = schema["type"].as_str().unwrap_or_else(|| panic!("{at}: the schema has no type"));
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        _ => panic!("{at}: unknown type {kind}"),
    };
    if !fits {
        problems.push(format!("{at}: is no {kind}"));
        return;
    }
    for (keyword, limit) in schema.as_object().unwrap() {
        if let Some(problem) = breaks(keyword, limit, value) {
            problems.push(format!("{at}: {problem}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            check(items, value, &format!("{at}[{index}]"), problems);
        }
    }
    // The API server looks after the metadata itself.
    if let Some(fields) = value.as_object().filter(|_| at != ".metadata") {
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
                Some(schema) => check(schema, value, &at, problems),
                None => problems.push(format!("{at}: unknown field")),
            }
        }
    }
}

/// What is wrong with `value` as far as one keyword goes.
fn breaks(keyword: &str, limit: &Value, value: &Value) -> Option<String> {
    let number = || limit.as_i64().unwrap();
    let length = || i64::try_from(value.as_str().unwrap().chars().count()).unwrap();
    let items = || i64::try_from(value.as_array().unwrap().len()).unwrap();
    let broken = match keyword {
        "enum" => !limit.as_array().unwrap().contains(value),
        "minimum" => value.as_i64().unwrap() < number(),
        "maximum" => value.as_i64().unwrap() > number(),
        "minLength" => length() < number(),
        "maxLength" => length() > number(),
        "minItems" => items() < number(),
        "maxItems" => items() > number(),
        "maxProperties" => value.as_object().unwrap().len() > usize::try_from(number()).unwrap(),
        "required" => {
            let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
            return limit.as_array().unwrap().iter().find(missing).map(|name| format!("needs {name}"));
        }
        // The rules in CEL, by their text: the message is what a user would see.
        "x-kubernetes-validations" => {
            let rules = limit.as_array().unwrap().iter();
            return rules
                .filter(|rule| !holds(rule["rule"].as_str().unwrap(), value))
                .find_map(|rule| rule["message"].as_str().map(ToOwned::to_owned));
        }
        "type" | "format" | "description" | "properties" | "additionalProperties" | "items" => false,
        "x-kubernetes-list-type" | "x-kubernetes-list-map-keys" => false,
        _ => panic!("unknown keyword {keyword}"),
    };
    broken.then(|| format!("{keyword} is {limit}"))
}

/// The rules of the definition, once more.
fn holds(rule: &str, target: &Value) -> bool {
    let has = |path: &str| target.pointer(path).is_some();
    match rule {
        "[has(self.selector), has(self.selectors), has(self.static)].filter(given, given).size() == 1" => {
            [has("/selector"), has("/selectors"), has("/static")].iter().filter(|given| **given).count() == 1
        }
        "!has(self.static) || has(self.name) || has(self.static.name)" => {
            !has("/static") || has("/name") || has("/static/name")
        }
        _ => panic!("unknown rule {rule}"),
    }
}
