//! What stands behind a rule: MCP servers that are served as one, or a plain HTTP service.

use crate::{InvalidTargetName, Target, TargetName};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The name of a backend, unique in a snapshot: `namespace/name` of a `Backend`, `service/namespace/name:port` of a
/// Service, empty for the one of a configuration file. Sessions are bound to it.
#[derive(Clone, Debug, Default, Eq)]
pub struct BackendName(Arc<str>);

impl Hash for BackendName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for BackendName {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always a copy of the backend's own.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Ord for BackendName {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for BackendName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl BackendName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BackendName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A target among all of a snapshot: two backends may have targets of the same name.
///
/// It is a pointer: much holds one, and nearly all are copies of the target's own.
#[derive(Clone, Debug, Eq)]
pub struct TargetId(Arc<TargetNames>);

/// What a [`TargetId`] points to.
#[derive(Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TargetNames {
    /// The backend it belongs to.
    pub backend: BackendName,
    /// What it is called there.
    pub name: TargetName,
}

impl Deref for TargetId {
    type Target = TargetNames;

    fn deref(&self) -> &TargetNames {
        &self.0
    }
}

impl Hash for TargetId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for TargetId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Ord for TargetId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for TargetId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TargetId {
    /// The target of `backend` that is called `name`.
    #[must_use]
    pub fn new(backend: BackendName, name: TargetName) -> Self {
        Self(Arc::new(TargetNames { backend, name }))
    }

    /// The target of `backend` that is called `name`, if there is one.
    ///
    /// # Errors
    /// When no target can be called so.
    pub fn parse(backend: &BackendName, name: &str) -> Result<Self, InvalidTargetName> {
        Ok(Self::new(backend.clone(), TargetName::parse(name)?))
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend.as_str() {
            "" => write!(f, "{}", self.name),
            backend => write!(f, "{backend}/{}", self.name),
        }
    }
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// The Model Context Protocol: its targets are federated.
    #[default]
    Mcp,
    /// Whatever comes, request by request; it has one target.
    Http,
}

/// Targets that stand behind one URL. Immutable.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backend {
    name: BackendName,
    form: Form,
    targets: Vec<Arc<Target>>,
}

/// Two targets of one backend have the same name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DuplicateTarget(pub TargetName);

impl fmt::Display for DuplicateTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two targets are named \"{}\"", self.0)
    }
}

impl std::error::Error for DuplicateTarget {}

impl Backend {
    /// MCP servers that are served as one; their order is the order of merged lists.
    ///
    /// # Errors
    /// When two targets have the same name.
    pub fn mcp(name: BackendName, targets: Vec<Target>) -> Result<Self, DuplicateTarget> {
        let mut names: Vec<&TargetName> = targets.iter().map(Target::name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
            return Err(DuplicateTarget((*twice).clone()));
        }
        Ok(Self::of(name, Form::Mcp, targets))
    }

    /// A service that gets requests as they are.
    #[must_use]
    pub fn http(name: BackendName, target: Target) -> Self {
        Self::of(name, Form::Http, vec![target])
    }

    fn of(name: BackendName, form: Form, targets: Vec<Target>) -> Self {
        let own = |mut target: Target| {
            target.id = TargetId::new(name.clone(), target.name().clone());
            Arc::new(target)
        };
        Self { targets: targets.into_iter().map(own).collect(), form, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BackendName {
        &self.name
    }

    /// How it is spoken to.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// All targets, in the order of configuration.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target called `name`.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name().as_str() == name)
    }

    /// The only target, when there is exactly one: then names, URIs and ids pass untouched.
    #[must_use]
    pub fn single(&self) -> Option<&Arc<Target>> {
        match self.targets.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// This backend, sharing with `before` the targets that have not changed: whoever follows snapshots need only look
    /// at those that are not the same allocation.
    #[must_use]
    pub fn sharing(mut self, before: &Self) -> Self {
        for target in &mut self.targets {
            if let Some(same) = before.target(target.name().as_str()).filter(|old| *old == target) {
                *target = Arc::clone(same);
            }
        }
        self
    }
}
