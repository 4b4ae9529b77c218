//! What a client asks about itself: may I, what may I, who am I.

use crate::faults::Plan;
use crate::kinds::Kinds;
use crate::tree;
use serde_json::{Value, json};

/// Verbs of rules.
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// Whether reviews are posted to this path.
pub(crate) fn is_review(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews" | "selfsubjectrulesreviews"]
            | ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]
    )
}

/// A review with its answer.
pub(crate) fn answer(plan: &Plan, kinds: &Kinds, mut review: Value) -> Value {
    let status = match tree::text(&review, "/kind") {
        "SelfSubjectAccessReview" => access(plan, &review),
        "SelfSubjectRulesReview" => rules(plan, kinds),
        _ => json!({"userInfo": {"username": "fake", "groups": ["system:authenticated"]}}),
    };
    tree::set(&mut review, &["status"], status);
    review
}

fn access(plan: &Plan, body: &Value) -> Value {
    let text = |name: &str| tree::text(body, &format!("/spec/resourceAttributes/{name}"));
    let with = |separator: &str, name: &str| match text(name) {
        "" => String::new(),
        part => format!("{separator}{part}"),
    };
    let resource = format!("{}{}{}", text("resource"), with(".", "group"), with("/", "subresource"));
    json!({"allowed": !plan.denies(text("verb"), &resource)})
}

fn rules(plan: &Plan, kinds: &Kinds) -> Value {
    let mut rules = Vec::new();
    for kind in kinds.all() {
        for part in ["", "/status"] {
            let resource = kind.resource() + part;
            let verbs: Vec<_> = VERBS.into_iter().filter(|verb| !plan.denies(verb, &resource)).collect();
            rules.push(json!({
                "verbs": verbs, "apiGroups": [kind.group], "resources": [format!("{}{part}", kind.plural)],
            }));
        }
    }
    json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false})
}
