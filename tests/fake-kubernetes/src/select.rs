//! Label and field selectors of lists and watches.

use crate::refusal::Refusal;
use crate::tree;
use serde_json::Value;

/// What a list or a watch is restricted to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let labels = pieces(labels).map(requirement).collect::<Result<_, _>>()?;
        let fields = pieces(fields).map(field).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.labels.iter().all(|Requirement { key, operator }| match (operator, label(key)) {
            (Operator::In(values), Some(found)) => values.iter().any(|value| value == found),
            (Operator::NotIn(values), Some(found)) => values.iter().all(|value| value != found),
            (Operator::Exists, found) => found.is_some(),
            (Operator::Missing, found) => found.is_none(),
            (Operator::In(_), None) => false,
            (Operator::NotIn(_), None) => true,
        }) && self
            .fields
            .iter()
            .all(|(pointer, equal, wanted)| (tree::text(object, pointer) == wanted) == *equal)
    }
}

/// Splits at commas outside parentheses.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|piece| !piece.is_empty())
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let (key, operator) = if let Some((key, value)) = text.split_once("!=") {
        (key, Operator::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Operator::In(one(value)))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Operator::Missing)
    } else if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values: Vec<_> = values.split(',').map(|value| value.trim().to_owned()).collect();
        match head.trim().rsplit_once(' ') {
            Some((key, "in")) => (key, Operator::In(values)),
            Some((key, "notin")) => (key, Operator::NotIn(values)),
            _ => return Err(unreadable(text)),
        }
    } else {
        (text, Operator::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(' ') {
        return Err(unreadable(text));
    }
    Ok(Requirement { key: key.to_owned(), operator })
}

fn field(text: &str) -> Result<(String, bool, String), Refusal> {
    let (path, equal, value) = if let Some((path, value)) = text.split_once("!=") {
        (path, false, value)
    } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (path, true, value)
    } else {
        return Err(unreadable(text));
    };
    Ok((format!("/{}", path.trim().replace('.', "/")), equal, value.trim().to_owned()))
}

fn unreadable(text: &str) -> Refusal {
    Refusal::new(400, format!("unable to parse requirement: {text}"))
}

#[cfg(test)]
mod tests {
    use super::Selector;
    use serde_json::json;

    #[test]
    fn selectors_are_read_and_matched() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "x", "tier": "web"}}});
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=x", "", true),
            ("app==y", "", false),
            ("app in (x, y),tier", "", true),
            ("app notin (x)", "", false),
            ("other notin (x)", "", true),
            ("!other,app!=y", "", true),
            ("!app", "", false),
            ("", "metadata.name=a", true),
            ("", "metadata.name!=a", false),
        ] {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        assert!(Selector::parse("a b c", "").is_err());
    }
}
