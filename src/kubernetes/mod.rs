//! Kubernetes objects as what says what is served.
//!
//! ```text
//! Settings::manifests ─► build ─► Routes, hosts to look up ─► control
//!                          └────► notes ─► log
//! ```

mod describe;

use crate::resolve::Hosts;
use k8s_adapter::build::{Built, Inputs, Observed, Options, build};
use k8s_adapter::objects::Objects;
use routing::Routes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where objects come from, and what was made of them last.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    options: Options,
    objects: Option<Arc<Objects>>,
    built: Built,
    took: Duration,
    /// What the operator was told already.
    told: BTreeSet<String>,
}

/// What the rest of the gateway knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Addresses of hosts.
    pub(crate) hosts: &'a Hosts,
    /// What workers saw of targets.
    pub(crate) observed: &'a Observed,
    /// Addresses that can't be listened on.
    pub(crate) unbound: &'a BTreeMap<SocketAddr, String>,
    /// The snapshot in force.
    pub(crate) routes: &'a Routes,
}

impl Kubernetes {
    /// What `objects`, read from files, say. Gateways listen at `bind`, and Services are where `resolve` says.
    pub(crate) fn from_files(objects: Arc<Objects>, bind: IpAddr, resolve: BTreeMap<String, String>) -> Self {
        let options = Options { bind, from_files: true, resolve, ..Options::default() };
        Self {
            options,
            objects: Some(objects),
            built: Built::default(),
            took: Duration::ZERO,
            told: BTreeSet::new(),
        }
    }

    /// Puts other objects in the place of those from files.
    pub(crate) fn replace(&mut self, objects: Arc<Objects>) {
        self.objects = Some(objects);
    }

    /// What the objects come to; nothing while there are none.
    pub(crate) fn build(&mut self, known: Known<'_>) -> Option<&Built> {
        let start = Instant::now();
        self.built = build(&Inputs {
            objects: self.objects.as_ref()?,
            options: &self.options,
            hosts: known.hosts,
            observed: known.observed,
            unbound: known.unbound,
            before: Some(known.routes),
        });
        self.took = start.elapsed();
        Some(&self.built)
    }

    /// What an operator should know of what was built last.
    pub(crate) fn notes(&self) -> &[String] {
        &self.built.notes
    }

    /// Tells the world what was built last.
    pub(crate) fn publish(&mut self) {
        let notes: BTreeSet<String> = self.built.notes.iter().cloned().collect();
        for note in notes.difference(&self.told) {
            tracing::warn!(note, "Kubernetes objects");
        }
        self.told = notes;
    }
}
