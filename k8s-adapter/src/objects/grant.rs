//! `ReferenceGrant` (Gateway API v1 and v1beta1).

use super::{Metadata, nullable};
use serde::Deserialize;

/// Lets objects of other namespaces refer to objects of its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ReferenceGrant {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// Who may refer to what: each of `from` to each of `to`.
    #[serde(deserialize_with = "nullable")]
    pub spec: ReferenceGrantSpec,
}

/// Who may refer to what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    #[serde(deserialize_with = "nullable")]
    pub from: Vec<GrantFrom>,
    /// To what.
    #[serde(deserialize_with = "nullable")]
    pub to: Vec<GrantTo>,
}

/// All objects of a kind in a namespace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct GrantFrom {
    /// Their API group.
    #[serde(deserialize_with = "nullable")]
    pub group: String,
    /// Their kind.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Their namespace.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

/// One or all objects of a kind in the grant's namespace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct GrantTo {
    /// Their API group; empty: the core group.
    #[serde(deserialize_with = "nullable")]
    pub group: String,
    /// Their kind.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// The one; none: all.
    pub name: Option<String>,
}
