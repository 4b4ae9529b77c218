//! Which manager owns which field, and server-side apply.

use std::collections::BTreeSet;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    pub(crate) manager: String,
    fields: BTreeSet<String>,
}
