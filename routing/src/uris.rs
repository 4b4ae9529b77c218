//! Resource URIs as clients see them when several targets stand behind one URL.
//!
//! Two targets may use the same URI, so each gets its target in front, reversibly: `target+scheme://…` for all schemes
//! but `ui://`, which hosts test for and which therefore becomes `ui://target+…`. In a URI template only the literal
//! start changes, so expanding a rewritten template equals rewriting its expansion.

use crate::{Backend, Target, TargetName};
use std::sync::Arc;

const UI: &str = "ui://";

/// What stands between the target and the rest.
pub const BEHIND: &str = "+";

/// Where in `uri` its target goes.
#[must_use]
pub fn place(uri: &str) -> usize {
    if uri.starts_with(UI) { UI.len() } else { 0 }
}

/// What `uri` of `target` is called towards clients.
#[must_use]
pub fn federated(target: &TargetName, uri: &str) -> String {
    let (scheme, rest) = uri.split_at(place(uri));
    format!("{scheme}{target}{BEHIND}{rest}")
}

/// The target that a federated URI names, and the URI the target knows.
#[must_use]
pub fn split<'b>(backend: &'b Backend, federated: &str) -> Option<(&'b Arc<Target>, String)> {
    let (scheme, rest) = match federated.strip_prefix(UI) {
        Some(rest) => (UI, rest),
        None => ("", federated),
    };
    let (target, rest) = rest.split_once(BEHIND)?;
    Some((backend.target(target)?, format!("{scheme}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendName;

    #[test]
    fn every_uri_finds_its_way_back() {
        let name = TargetName::parse("a-b").unwrap();
        let backend = Backend::mcp(
            BackendName::default(),
            vec![Target::new(name.clone(), "127.0.0.1:1".parse().unwrap(), "/")],
        )
        .unwrap();
        for (uri, expected) in [
            ("demo://x/1", "a-b+demo://x/1"),
            ("ui://widget/w.html", "ui://a-b+widget/w.html"),
            ("svn+ssh://h/p", "a-b+svn+ssh://h/p"),
            ("test://{id}/data", "a-b+test://{id}/data"),
            ("", "a-b+"),
        ] {
            let federated = federated(&name, uri);
            assert_eq!(federated, expected);
            let (target, back) = split(&backend, &federated).unwrap();
            assert_eq!((target.name(), back.as_str()), (&name, uri));
        }
        assert!(split(&backend, "demo://x").is_none());
        assert!(split(&backend, "svn+ssh://h/p").is_none());
    }
}
