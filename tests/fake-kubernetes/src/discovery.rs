//! What is served at all: versions, groups and resources, and the questions a client asks about itself.

use crate::call::Answer;
use crate::kinds::{Kind, Kinds};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The document at a path, if it is one of discovery.
pub(crate) fn document(kinds: &Kinds, segments: &[&str]) -> Option<Answer> {
    let value = match segments {
        ["version"] => json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.2+fake", "platform": "linux/amd64",
        }),
        ["healthz" | "readyz" | "livez"] => return Some(Answer::Text(200, "ok")),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let groups: Vec<_> =
                groups(kinds).into_iter().map(|(name, versions)| group(&name, &versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let groups = groups(kinds);
            let mut found = group(name, groups.get(*name)?);
            crate::tree::set(&mut found, &["kind"], "APIGroup".into());
            crate::tree::set(&mut found, &["apiVersion"], "v1".into());
            found
        }
        ["api", version] => resources(kinds, "", version)?,
        ["apis", group, version] => resources(kinds, group, version)?,
        _ => return None,
    };
    Some(Answer::Object(200, value))
}

/// Groups and their versions, the preferred one first.
fn groups(kinds: &Kinds) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds.all().filter(|kind| !kind.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        for version in &kind.versions {
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
    }
    for versions in groups.values_mut() {
        // Stable ones are shorter than betas of them.
        versions.sort_by_key(String::len);
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let served = |kind: &&std::sync::Arc<Kind>| {
        kind.group == group && kind.versions.iter().any(|served| served == version)
    };
    let resources: Vec<_> = kinds.all().filter(served).flat_map(|kind| entries(kind)).collect();
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    });
    (!resources.is_empty()).then_some(list)
}

fn entries(kind: &Kind) -> Vec<Value> {
    let mut entries = vec![json!({
        "name": kind.plural, "singularName": kind.kind.to_ascii_lowercase(), "namespaced": kind.namespaced,
        "kind": kind.kind, "shortNames": kind.short,
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    })];
    if kind.status {
        entries.push(json!({
            "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": ["get", "patch", "update"],
        }));
    }
    entries
}
