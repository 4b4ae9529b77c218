//! The types of objects that are served: the built-in ones from a table, custom ones from their definitions.

use crate::tree;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The group and resource of definitions of custom types.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// One type.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: String,
    /// The preferred one first; objects are stored as that one.
    pub(crate) versions: Vec<String>,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) short: Vec<String>,
    pub(crate) namespaced: bool,
    /// Whether status is written through its own endpoint alone.
    pub(crate) status: bool,
    pub(crate) custom: bool,
    /// Whether changes of the spec are counted in `metadata.generation`.
    pub(crate) counted: bool,
    /// Whether an object can be replaced only by who names its revision.
    pub(crate) guarded: bool,
    /// Structural schema: what is pruned, defaulted, checked and merged how.
    pub(crate) schema: Value,
    /// Columns of tables: header and path.
    pub(crate) columns: Vec<(String, String)>,
    /// Uid and generation of the definition: watches end when it changes.
    pub(crate) era: String,
}

/// Built-in types: group, version, plural, kind, and the letters n(amespaced), s(tatus), g(eneration),
/// r(evision needed to replace).
const BUILT_IN: [(&str, &str, &str, &str, &str); 18] = [
    ("", "v1", "namespaces", "Namespace", "s"),
    ("", "v1", "services", "Service", "ns"),
    ("", "v1", "secrets", "Secret", "n"),
    ("", "v1", "serviceaccounts", "ServiceAccount", "n"),
    ("", "v1", "configmaps", "ConfigMap", "n"),
    ("", "v1", "pods", "Pod", "ns"),
    ("", "v1", "nodes", "Node", "s"),
    ("", "v1", "events", "Event", "n"),
    ("apps", "v1", "deployments", "Deployment", "nsg"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "ns"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "nsg"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "ng"),
    ("coordination.k8s.io", "v1", "leases", "Lease", "nr"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", "n"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "n"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", ""),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", ""),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "sg"),
];

/// Short names of built-in types.
const SHORT: [(&str, &str); 9] = [
    ("namespaces", "ns"),
    ("services", "svc"),
    ("serviceaccounts", "sa"),
    ("configmaps", "cm"),
    ("pods", "po"),
    ("deployments", "deploy"),
    ("horizontalpodautoscalers", "hpa"),
    ("poddisruptionbudgets", "pdb"),
    ("customresourcedefinitions", "crd"),
];

/// Columns of built-in types: plural, header, path.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("namespaces", "Status", ".status.phase"),
    ("services", "Type", ".spec.type"),
    ("services", "Cluster-IP", ".spec.clusterIP"),
    ("services", "External-IP", ".status.loadBalancer.ingress[*].ip"),
    ("services", "Port(s)", ".spec.ports[*].port"),
    ("deployments", "Available", ".status.availableReplicas"),
];

/// Lists of built-in types that are merged by keys: plural, path, keys.
const KEYED: [(&str, &[&str], &[&str]); 12] = [
    ("services", &["spec", "ports"], &["port", "protocol"]),
    ("serviceaccounts", &["secrets"], &["name"]),
    ("pods", &["spec", "containers"], &["name"]),
    ("pods", &["status", "conditions"], &["type"]),
    ("deployments", &["status", "conditions"], &["type"]),
    ("deployments", &["spec", "template", "spec", "volumes"], &["name"]),
    ("deployments", &["spec", "template", "spec", "containers"], &["name"]),
    ("deployments", &["spec", "template", "spec", "containers", "[]", "env"], &["name"]),
    ("deployments", &["spec", "template", "spec", "containers", "[]", "volumeMounts"], &["mountPath"]),
    (
        "deployments",
        &["spec", "template", "spec", "containers", "[]", "ports"],
        &["containerPort", "protocol"],
    ),
    ("namespaces", &["status", "conditions"], &["type"]),
    ("customresourcedefinitions", &["status", "conditions"], &["type"]),
];

impl Kind {
    /// The plural, with the group behind a dot.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The version that objects are stored as.
    pub(crate) fn version(&self) -> &str {
        self.versions.first().map_or("v1", String::as_str)
    }

    /// `apiVersion` of objects in `version`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    fn built_in((group, version, plural, kind, traits): (&str, &str, &str, &str, &str)) -> Self {
        let mut schema = json!({});
        for (_, path, keys) in KEYED.iter().filter(|(of, ..)| *of == plural) {
            let mut place: Vec<&str> = Vec::new();
            for step in *path {
                match *step {
                    "[]" => place.push("items"),
                    field => place.extend(["properties", field]),
                }
            }
            let put =
                |schema: &mut Value, end: &[&str], value| tree::set(schema, &[&place, end].concat(), value);
            put(&mut schema, &["x-kubernetes-list-map-keys"], json!(keys));
            if keys.contains(&"protocol") {
                put(&mut schema, &["items", "properties", "protocol", "default"], json!("TCP"));
            }
        }
        Self {
            group: group.to_owned(),
            versions: vec![version.to_owned()],
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            short: SHORT
                .iter()
                .filter(|(of, _)| *of == plural)
                .map(|(_, short)| (*short).to_owned())
                .collect(),
            namespaced: traits.contains('n'),
            status: traits.contains('s'),
            custom: false,
            counted: traits.contains('g'),
            guarded: traits.contains('r'),
            schema: with_metadata(schema),
            columns: COLUMNS
                .iter()
                .filter(|(of, ..)| *of == plural)
                .map(|(_, name, path)| ((*name).to_owned(), (*path).to_owned()))
                .collect(),
            era: String::new(),
        }
    }

    /// What a `CustomResourceDefinition` describes; nothing if it lacks a name or a version.
    pub(crate) fn defined(definition: &Value) -> Option<Self> {
        let text = |pointer| Some(tree::text(definition, pointer).to_owned()).filter(|text| !text.is_empty());
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let flag = |version: &Value, name| version.get(name).and_then(Value::as_bool).unwrap_or_default();
        let storage = versions.iter().find(|version| flag(version, "storage"))?;
        let served = versions.iter().filter(|version| flag(version, "served") && !flag(version, "storage"));
        let columns = storage.get("additionalPrinterColumns").and_then(Value::as_array);
        // The age comes last in any case.
        let aged = |column: &&Value| tree::text(column, "/jsonPath") != ".metadata.creationTimestamp";
        let column = |column: &Value| {
            (tree::text(column, "/name").to_owned(), tree::text(column, "/jsonPath").to_owned())
        };
        let generation = definition.pointer("/metadata/generation").unwrap_or(&Value::Null);
        let short = definition.pointer("/spec/names/shortNames").and_then(Value::as_array);
        Some(Self {
            group: text("/spec/group")?,
            versions: [storage]
                .into_iter()
                .chain(served)
                .map(|version| tree::text(version, "/name").to_owned())
                .collect(),
            plural: text("/spec/names/plural")?,
            kind: text("/spec/names/kind")?,
            short: short.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            namespaced: text("/spec/scope")? == "Namespaced",
            status: storage.pointer("/subresources/status").is_some(),
            custom: true,
            counted: true,
            guarded: true,
            schema: with_metadata(storage.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default()),
            columns: columns.into_iter().flatten().filter(aged).map(column).collect(),
            era: format!("{} {generation}", tree::text(definition, "/metadata/uid")),
        })
    }
}

/// A schema that knows how the lists in metadata merge.
fn with_metadata(mut schema: Value) -> Value {
    let lists = json!({
        "ownerReferences": {"x-kubernetes-list-map-keys": ["uid"]},
        "finalizers": {"x-kubernetes-list-type": "set"},
    });
    tree::set(&mut schema, &["properties", "metadata", "properties"], lists);
    schema
}

/// All types by their resource.
#[derive(Debug)]
pub(crate) struct Kinds(BTreeMap<String, Arc<Kind>>);

impl Kinds {
    pub(crate) fn built_in() -> Self {
        let kinds = BUILT_IN.map(|row| Arc::new(Kind::built_in(row)));
        Self(kinds.into_iter().map(|kind| (kind.resource(), kind)).collect())
    }

    pub(crate) fn define(&mut self, kind: Kind) {
        self.0.insert(kind.resource(), Arc::new(kind));
    }

    pub(crate) fn forget(&mut self, resource: &str) {
        self.0.remove(resource);
    }

    /// By the parts of a URL.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.all().find(|kind| {
            kind.group == group
                && kind.plural == plural
                && kind.versions.iter().any(|served| served == version)
        })
    }

    /// By the head of a manifest.
    pub(crate) fn of(&self, manifest: &Value) -> Option<&Arc<Kind>> {
        let (group, version) = split(tree::text(manifest, "/apiVersion"));
        let name = tree::text(manifest, "/kind");
        self.all().find(|kind| {
            kind.group == group && kind.kind == name && kind.versions.iter().any(|served| served == version)
        })
    }

    /// By plural, or plural and group.
    pub(crate) fn resource(&self, resource: &str) -> Option<&Arc<Kind>> {
        self.0.get(resource).or_else(|| self.all().find(|kind| kind.plural == resource))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.0.values()
    }
}

/// Group and version of an `apiVersion`.
pub(crate) fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
