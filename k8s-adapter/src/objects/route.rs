//! `HTTPRoute` (Gateway API v1).

use super::{Metadata, ObjectRef, nullable};
use serde::Deserialize;
use serde_json::Value;

/// What is served on the listeners it attaches to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HttpRoute {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: HttpRouteSpec,
    /// What was last reported, by all controllers; only compared with what is to be reported.
    pub status: Value,
}

/// What is wanted of an `HTTPRoute`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What it attaches to.
    #[serde(deserialize_with = "nullable")]
    pub parent_refs: Vec<ParentRef>,
    /// Hosts it is for; none: those of the listener.
    #[serde(deserialize_with = "nullable")]
    pub hostnames: Vec<String>,
    /// Its rules; not given: one for everything that leads nowhere (the definition's default).
    pub rules: Option<Vec<HttpRouteRule>>,
}

/// What a route attaches to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentRef {
    /// API group; none: Gateway API's.
    pub group: Option<String>,
    /// Kind; none: `Gateway`.
    pub kind: Option<String>,
    /// Namespace; none: the route's.
    pub namespace: Option<String>,
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Only the listener of this name.
    pub section_name: Option<String>,
    /// Only listeners at this port.
    pub port: Option<i64>,
}

/// Some requests, and what becomes of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// For people.
    pub name: Option<String>,
    /// Requests that meet one of these; none: all.
    #[serde(deserialize_with = "nullable")]
    pub matches: Vec<HttpMatch>,
    /// Changes on the way.
    #[serde(deserialize_with = "nullable")]
    pub filters: Vec<Filter>,
    /// Who answers.
    #[serde(deserialize_with = "nullable")]
    pub backend_refs: Vec<BackendRef>,
    /// How long that may take.
    pub timeouts: Option<HttpTimeouts>,
    /// Repetition of failed requests: not supported.
    pub retry: Option<Value>,
    /// Sessions of plain HTTP: not supported.
    pub session_persistence: Option<Value>,
}

/// Conditions on a request that must all hold.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// On its path.
    pub path: Option<HttpPathMatch>,
    /// On header fields.
    #[serde(deserialize_with = "nullable")]
    pub headers: Vec<HttpValueMatch>,
    /// On query parameters.
    #[serde(deserialize_with = "nullable")]
    pub query_params: Vec<HttpValueMatch>,
    /// On its method.
    pub method: Option<String>,
}

/// A condition on a path.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HttpPathMatch {
    /// `Exact`, `PathPrefix` (also when not said) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// None: `/`.
    pub value: Option<String>,
}

/// A condition on a header field or query parameter.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HttpValueMatch {
    /// `Exact` (also when not said) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Which field or parameter.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The value, or a pattern.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
}

/// A change on the way: the member that belongs to its type.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Filter {
    /// Which change.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// For `RequestHeaderModifier`.
    pub request_header_modifier: Option<HeaderModifier>,
    /// For `ResponseHeaderModifier`.
    pub response_header_modifier: Option<HeaderModifier>,
    /// For `RequestRedirect`.
    pub request_redirect: Option<RequestRedirect>,
    /// For `URLRewrite`.
    #[serde(rename = "urlRewrite")]
    pub url_rewrite: Option<UrlRewrite>,
    /// For `ExtensionRef`.
    pub extension_ref: Option<ObjectRef>,
}

/// Changes to header fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HeaderModifier {
    /// In place of fields of that name.
    #[serde(deserialize_with = "nullable")]
    pub set: Vec<NameValue>,
    /// Behind fields of that name.
    #[serde(deserialize_with = "nullable")]
    pub add: Vec<NameValue>,
    /// Names of fields to leave out.
    #[serde(deserialize_with = "nullable")]
    pub remove: Vec<String>,
}

/// A header field.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct NameValue {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its value.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
}

/// Where else to ask.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// The port.
    pub port: Option<i64>,
    /// None: 302.
    pub status_code: Option<i64>,
}

/// Changes to where a request goes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct UrlRewrite {
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// For the first.
    pub replace_full_path: Option<String>,
    /// For the second.
    pub replace_prefix_match: Option<String>,
}

/// Who answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct BackendRef {
    /// API group; none: the core group.
    pub group: Option<String>,
    /// Kind; none: `Service`.
    pub kind: Option<String>,
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Namespace; none: the route's.
    pub namespace: Option<String>,
    /// Port, for a Service.
    pub port: Option<i64>,
    /// Its part of all requests; none: 1.
    pub weight: Option<i64>,
    /// Changes on the way there: not supported.
    #[serde(deserialize_with = "nullable")]
    pub filters: Vec<Filter>,
}

/// How long an answer may take (durations of GEP-2257).
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpTimeouts {
    /// All in all.
    pub request: Option<String>,
    /// Each attempt at a backend.
    pub backend_request: Option<String>,
}
