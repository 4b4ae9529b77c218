//! What all proxies have in common.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a proxy is like, whichever Gateway it is for. Read from JSON.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Template {
    /// The image of its pods: that of this gateway.
    pub image: String,
    /// When that is pulled; the cluster's default if not given.
    #[serde(default)]
    pub image_pull_policy: Option<String>,
    /// Secrets to pull it with, as in a pod; they must be in the Gateway's namespace.
    #[serde(default)]
    pub image_pull_secrets: Vec<Value>,
    /// How many pods; not given, that is left to somebody else, such as a HorizontalPodAutoscaler.
    #[serde(default)]
    pub replicas: Option<u16>,
    /// `LoadBalancer`, `NodePort` or `ClusterIP`.
    #[serde(default = "load_balancer")]
    pub service_type: String,
    /// The ClusterRoleBinding that lets proxies read, whose subjects are kept up to date; none, if they may anyway.
    #[serde(default)]
    pub readers: Option<String>,
    /// The value of `--log-level`.
    #[serde(default = "info")]
    pub log_level: String,
    /// More arguments of `mcp-gateway kubernetes`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Annotations of the pods.
    #[serde(default)]
    pub pod_annotations: BTreeMap<String, String>,
    /// As in a pod.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// As in a pod.
    #[serde(default)]
    pub tolerations: Vec<Value>,
    /// As in a container.
    #[serde(default)]
    pub resources: Value,
}

fn load_balancer() -> String {
    "LoadBalancer".to_owned()
}

fn info() -> String {
    "info".to_owned()
}
