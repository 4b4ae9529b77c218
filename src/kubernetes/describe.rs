//! What was built, in words.

use super::Kubernetes;
use k8s_adapter::build::{StatusKind, WantedStatus};
use serde_json::Value;
use std::fmt::Write;

impl Kubernetes {
    /// Where is listened, what stands behind, and what is wrong with the objects.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        // Writing to a string doesn't fail.
        let addresses: Vec<_> = self.built.routes.addresses().collect();
        _ = writeln!(text, "listeners  {}", addresses.len());
        for address in addresses {
            _ = writeln!(text, "  http://{address}");
        }
        let targets: Vec<_> = self.built.routes.all_targets().collect();
        _ = writeln!(text, "targets    {}", targets.len());
        for target in targets {
            let endpoints: Vec<String> =
                target.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
            let endpoints =
                if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
            _ = writeln!(text, "  {:<46} {} at {endpoints}", target.id.to_string(), target.path);
        }
        let problems: Vec<String> = self.built.statuses.iter().flat_map(problems).collect();
        _ = writeln!(text, "problems   {}", problems.len());
        for problem in problems {
            _ = writeln!(text, "  {problem}");
        }
        text
    }
}

/// The conditions in `status` that don't hold, wherever they are in it.
fn problems(status: &WantedStatus) -> Vec<String> {
    let mut found = Vec::new();
    collect(&status.status, &mut |condition| {
        let field = |name| condition.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("status") == "False" {
            let (kind, key) = (name(status.kind), &status.key);
            let (what, reason, message) = (field("type"), field("reason"), field("message"));
            found.push(format!("{kind} {key}: {what} is False ({reason}): {message}"));
        }
    });
    found
}

fn name(kind: StatusKind) -> &'static str {
    match kind {
        StatusKind::GatewayClass => "GatewayClass",
        StatusKind::Gateway => "Gateway",
        StatusKind::HttpRoute => "HTTPRoute",
        StatusKind::Backend => "Backend",
    }
}

fn collect(value: &Value, take: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("conditions", Value::Array(conditions)) => conditions.iter().for_each(&mut *take),
                    _ => collect(member, take),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, take)),
        _ => {}
    }
}
