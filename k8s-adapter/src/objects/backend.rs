//! `Backend` (`gateway.kgateway.dev/v1alpha1`), in both of its published shapes:
//!
//! | | until August 2025 | since |
//! |---|---|---|
//! | name of a static target | `targets[].static.name` | `targets[].name` |
//! | by label | `targets[].selectors.{namespaceSelector,serviceSelector}` | `targets[].selector.{namespace,service}` |
//! | its own name | `mcp.name` | none |

use super::{LabelSelector, Metadata, nullable};
use serde::Deserialize;
use serde_json::Value;

/// MCP servers that are served as one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Backend {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: BackendSpec,
    /// What was last reported; only compared with what is to be reported.
    pub status: Value,
}

/// What is wanted of a `Backend`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct BackendSpec {
    /// `MCP`; others are not served.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// For `MCP`.
    pub mcp: Option<Mcp>,
}

/// MCP servers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Mcp {
    /// For people.
    pub name: Option<String>,
    /// The servers, or where to find them.
    #[serde(deserialize_with = "nullable")]
    pub targets: Vec<McpTarget>,
}

/// One server, or all that labels select.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct McpTarget {
    /// Its name, in the newer shape.
    pub name: Option<String>,
    /// By label, in the older shape.
    pub selectors: Option<Selectors>,
    /// By label, in the newer shape.
    pub selector: Option<Selectors>,
    /// At a host.
    #[serde(rename = "static")]
    pub at: Option<StaticTarget>,
}

/// Which Services, in which namespaces.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Selectors {
    /// Namespaces; none: the Backend's own.
    #[serde(alias = "namespaceSelector")]
    pub namespace: Option<LabelSelector>,
    /// Services; none: all, if namespaces are given.
    #[serde(alias = "serviceSelector")]
    pub service: Option<LabelSelector>,
}

/// A server at a host.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct StaticTarget {
    /// Its name, in the older shape.
    pub name: Option<String>,
    /// An address, a name in the cluster, or one outside.
    #[serde(deserialize_with = "nullable")]
    pub host: String,
    /// Its port.
    #[serde(deserialize_with = "nullable")]
    pub port: i64,
    /// The path of its MCP endpoint.
    pub path: Option<String>,
    /// `SSE`, `StreamableHTTP` or `Undefined`.
    pub protocol: Option<String>,
}
