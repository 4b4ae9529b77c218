//! The errors of the API: what is answered in place of an object.

use crate::kinds::Kind;
use serde_json::{Value, json};

/// An error with the fields of a `Status` object.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
    /// Seconds for the header `Retry-After`.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        Self { code, reason, message: message.into(), details: json!({}), retry_after: None }
    }

    /// No object has this name.
    pub(crate) fn missing(kind: &Kind, name: &str) -> Self {
        Self::new(404, format!("{} \"{name}\" not found", kind.resource())).about(kind, name)
    }

    /// The object exists already.
    pub(crate) fn exists(kind: &Kind, name: &str) -> Self {
        let mut refusal =
            Self::new(409, format!("{} \"{name}\" already exists", kind.resource())).about(kind, name);
        refusal.reason = "AlreadyExists";
        refusal
    }

    /// The resource version in the body is not that of the stored object.
    pub(crate) fn stale(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your \
             changes to the latest version and try again",
            kind.resource()
        );
        Self::new(409, message).about(kind, name)
    }

    /// Fields break rules: each cause is (reason, message, field).
    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[(&str, String, String)]) -> Self {
        let list: Vec<_> = causes.iter().map(|(_, message, field)| format!("{field}: {message}")).collect();
        let message = format!("{}.{} \"{name}\" is invalid: {}", kind.kind, kind.group, list.join(", "));
        Self::new(422, message).about(kind, name).because(causes)
    }

    /// Other managers own the fields: each cause is (manager, field).
    pub(crate) fn contested(kind: &Kind, name: &str, owners: &[(String, String)]) -> Self {
        let (plural, list): (_, Vec<_>) = (
            if owners.len() == 1 { "conflict" } else { "conflicts" },
            owners.iter().map(|(manager, field)| format!("conflict with \"{manager}\": {field}")).collect(),
        );
        let message = format!("Apply failed with {} {plural}: {}", owners.len(), list.join(", "));
        let causes: Vec<_> = owners
            .iter()
            .map(|(manager, field)| {
                ("FieldManagerConflict", format!("conflict with \"{manager}\""), field.clone())
            })
            .collect();
        Self::new(409, message).about(kind, name).because(&causes)
    }

    /// The revision has been compacted.
    pub(crate) fn expired(from: u64, oldest: u64) -> Self {
        Self::new(410, format!("too old resource version: {from} ({oldest})"))
    }

    /// The revision has not been reached yet.
    pub(crate) fn too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut refusal = Self::new(504, message);
        refusal.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        refusal
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        self
    }

    fn because(mut self, causes: &[(&str, String, String)]) -> Self {
        let causes: Vec<_> = causes
            .iter()
            .map(|(reason, message, field)| json!({"reason": reason, "message": message, "field": field}))
            .collect();
        crate::tree::set(&mut self.details, &["causes"], Value::Array(causes));
        self
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            crate::tree::set(&mut details, &["retryAfterSeconds"], seconds.into());
        }
        if details.as_object().is_some_and(|details| !details.is_empty()) {
            crate::tree::set(&mut status, &["details"], details);
        }
        status
    }
}
