//! Kubernetes objects as what says what is served: from files, or from a cluster that is followed.
//!
//! ```text
//! Settings::manifests ──┐
//! Cluster::objects ─────┴─► build ─► Routes, hosts to look up ─► control
//!                             └────► statuses ─► Cluster::want, notes ─► log
//! ```

pub(crate) mod controller;
mod describe;
mod follow;

pub(crate) use follow::Follow;

use crate::resolve::Hosts;
use k8s_adapter::build::{Built, Inputs, Observed, Options, build};
use k8s_adapter::cluster::{Cluster, ConnectError, Vitals};
use k8s_adapter::objects::Objects;
use routing::Routes;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a cluster may take to answer what is good to know, but can be done without.
const PATIENCE_WITH_A_CLUSTER: Duration = Duration::from_secs(2);

/// Where objects come from, and what was made of them last.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    options: Options,
    /// None until the cluster was read.
    objects: Option<Arc<Objects>>,
    cluster: Option<Following>,
    built: Built,
    took: Duration,
    /// What the operator was told already.
    told: BTreeSet<String>,
}

/// A cluster, and what it says.
#[derive(Debug)]
struct Following {
    cluster: Cluster,
    objects: watch::Receiver<Option<Arc<Objects>>>,
    has_looked: bool,
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
        Self { objects: Some(objects), ..Self::new(options, None) }
    }

    /// What the cluster says that `follow` names. `random` tells this replica from all others.
    ///
    /// # Errors
    /// When there is nothing to reach it with.
    pub(crate) async fn from_cluster(follow: &Follow, random: [u8; 4]) -> Result<Self, ConnectError> {
        let cluster = Cluster::connect(follow.cluster(random)).await?;
        let objects = cluster.objects();
        Ok(Self::new(follow.options(), Some(Following { cluster, objects, has_looked: false })))
    }

    fn new(options: Options, cluster: Option<Following>) -> Self {
        Self {
            options,
            objects: None,
            cluster,
            built: Built::default(),
            took: Duration::ZERO,
            told: BTreeSet::new(),
        }
    }

    /// Waits until the cluster says something else. Nothing is lost when it is dropped.
    pub(crate) async fn changed(&mut self) {
        let Some(Following { objects, .. }) = &mut self.cluster else { return pending().await };
        match objects.changed().await {
            Ok(()) => self.objects.clone_from(&objects.borrow_and_update()),
            Err(_) => pending().await,
        }
    }

    /// Finds out which version of Gateway API the cluster has, once.
    pub(crate) async fn look_around(&mut self) {
        if let Some(Following { cluster, has_looked, .. }) = &mut self.cluster
            && !*has_looked
        {
            *has_looked = true;
            let version = timeout(PATIENCE_WITH_A_CLUSTER, cluster.bundle_version()).await;
            self.options.bundle_version = version.ok().flatten();
        }
    }

    /// How things stand with the cluster, if there is one.
    pub(crate) fn vitals(&self) -> Option<Arc<Vitals>> {
        Some(self.cluster.as_ref()?.cluster.vitals())
    }

    /// Whether there is something to serve.
    pub(crate) fn is_there(&self) -> bool {
        self.objects.is_some()
    }

    /// How long the last build took.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// Leaves the cluster to other replicas.
    pub(crate) async fn leave(&mut self) {
        if let Some(following) = self.cluster.take() {
            following.cluster.leave().await;
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
        if let (Some(_), Some(following)) = (&self.objects, &self.cluster) {
            following.cluster.want(self.built.statuses.clone());
        }
    }
}
