//! Labels: what a selector selects, and an index of Services by label.

use crate::objects::{LabelExpression, LabelSelector, Objects, Service};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Whether `selector` can be read at all: definitions check neither operators nor values.
pub(super) fn check(selector: &LabelSelector) -> Result<(), String> {
    selector.match_expressions.iter().try_for_each(|expression| {
        let LabelExpression { key, operator, values } = expression;
        match (operator.as_str(), values.is_empty()) {
            _ if key.is_empty() => Err("an expression without key".to_owned()),
            ("In" | "NotIn", true) => Err(format!("{operator} without values for {key}")),
            ("Exists" | "DoesNotExist", false) => Err(format!("{operator} with values for {key}")),
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => Ok(()),
            _ => Err(format!("an unknown operator {operator:?} for {key}")),
        }
    })
}

/// Whether `labels` meet all parts of a selector that passed [`check`]. `NotIn` and `DoesNotExist` also hold for labels
/// that are not there.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let label = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    let expression = |LabelExpression { key, operator, values }: &LabelExpression| {
        let value = labels.get(key);
        match operator.as_str() {
            "In" => value.is_some_and(|value| values.contains(value)),
            "NotIn" => value.is_none_or(|value| !values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    selector.match_labels.iter().all(label) && selector.match_expressions.iter().all(expression)
}

/// Services by label, so that a selector need not look at all.
pub(super) struct ByLabel<'a> {
    all: Vec<&'a Service>,
    by_label: BTreeMap<(&'a str, &'a str), Vec<&'a Service>>,
    by_namespace: BTreeMap<&'a str, Vec<&'a Service>>,
}

impl<'a> ByLabel<'a> {
    pub(super) fn of(objects: &'a Objects) -> Self {
        let mut index = Self { all: Vec::new(), by_label: BTreeMap::new(), by_namespace: BTreeMap::new() };
        for (key, service) in &objects.services {
            let service = service.as_ref();
            index.all.push(service);
            index.by_namespace.entry(&key.namespace).or_default().push(service);
            for (label, value) in &service.metadata.labels {
                index.by_label.entry((label, value)).or_default().push(service);
            }
        }
        index
    }

    /// Those that `selector` selects; none: all. Only those of `namespace`, if one is given.
    pub(super) fn selected(
        &self,
        selector: Option<&'a LabelSelector>,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Service> {
        let labels = selector.into_iter().flat_map(|selector| &selector.match_labels);
        let labelled = labels.map(|(label, value)| self.by_label.get(&(label.as_str(), value.as_str())));
        let nearby = namespace.map(|namespace| self.by_namespace.get(namespace));
        // A label or a namespace that nobody has gives the shortest list of all: none.
        let lists = labelled.chain(nearby).map(|list| list.map_or(&[][..], Vec::as_slice));
        let shortest = lists.min_by_key(|list| list.len()).unwrap_or(&self.all);
        let services: Vec<&'a Service> = shortest.to_vec();
        services.into_iter().filter(move |service| {
            namespace.is_none_or(|namespace| service.metadata.namespace == namespace)
                && selector.is_none_or(|selector| selects(selector, &service.metadata.labels))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn all_parts_must_hold() {
        let labels: Labels = [("app", "mcp"), ("tier", "gold")].map(|(k, v)| (k.into(), v.into())).into();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (value, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "mcp"}}), true),
            (json!({"matchLabels": {"app": "mcp", "tier": "iron"}}), false),
            (expression("app", "In", &["x", "mcp"]), true),
            (expression("none", "In", &["x"]), false),
            (expression("app", "NotIn", &["mcp"]), false),
            (expression("none", "NotIn", &["mcp"]), true),
            (expression("app", "Exists", &[]), true),
            (expression("none", "Exists", &[]), false),
            (expression("app", "DoesNotExist", &[]), false),
            (expression("none", "DoesNotExist", &[]), true),
        ] {
            let selector = selector(value);
            assert_eq!(check(&selector), Ok(()));
            assert_eq!(selects(&selector, &labels), expected, "{selector:?}");
        }
    }

    #[test]
    fn what_can_not_be_read_selects_nothing() {
        for (key, operator, values) in [
            ("a", "in", &["x"][..]),
            ("a", "", &[]),
            ("a", "In", &[]),
            ("a", "NotIn", &[]),
            ("a", "Exists", &["x"]),
            ("a", "DoesNotExist", &["x"]),
            ("", "Exists", &[]),
        ] {
            let expression = json!({"key": key, "operator": operator, "values": values});
            assert!(check(&selector(json!({"matchExpressions": [expression]}))).is_err(), "{operator}");
        }
    }
}
