//! All traffic with the Kubernetes API.
//!
//! ```text
//!            ┌► reflector per type ─► store ─► publisher ─► Objects ─► (build) ─► WantedStatus ┐
//! API server │                          │                                                      │
//!            └◄──────────────── writer ◄┴── election ◄──────────────────────────── want ◄──────┘
//! ```
//!
//! A [`Cluster`] keeps a copy of the objects that matter and publishes it as a whole whenever something has changed. What the
//! gateway thinks of the objects comes back through [`Cluster::want`] and is written into their statuses by one of the
//! replicas. Whatever breaks on the way to the API server, the last complete copy stays: a control plane that is away is
//! not felt in the data plane.
//!
//! The watch loop is our own and not kube's: its fallback from streaming lists, its backoff and its treatment of 410 and of
//! objects that do not decode can't be set to what is wanted here. Of kube the client remains: configuration, TLS, credentials.

mod api;
mod backoff;
mod client;
mod election;
mod item;
mod kind;
mod lease;
mod publisher;
mod reflector;
mod rights;
mod status;
mod store;
mod vitals;
mod wire;
mod writer;

pub use client::ConnectError;
pub use vitals::{Board, KindVitals, StatusVitals, Vitals};

use crate::build::WantedStatus;
use crate::objects::Objects;
use api::Api;
use election::Candidate;
use kube::core::Request;
use kube::core::params::GetParams;
use reflector::Reflector;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use writer::Writer;

/// How a cluster is reached, and what is done with it.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// The file with the cluster's address and credentials. None: what a pod is given, else `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context of that file; its current one if none is named.
    pub context: Option<String>,
    /// The namespaces that are watched. None: all, which takes rights in the whole cluster.
    pub namespaces: Vec<String>,
    /// The controller whose entries in the statuses of routes are ours.
    pub controller_name: String,
    /// Whether statuses are written.
    pub write_status: bool,
    /// Which replica writes them. None: this one.
    pub election: Option<Election>,
    /// Limits of time.
    pub timing: Timing,
}

/// The Lease that decides which replica writes statuses.
#[derive(Clone, Debug)]
pub struct Election {
    /// Where the Lease is: usually the gateway's own namespace.
    pub namespace: String,
    /// Its name. Replicas with the same work share it.
    pub name: String,
    /// This replica's name, unlike that of any other: a pod's name, or a host's and a random part.
    pub identity: String,
}

/// Limits of time; the defaults are right for all but tests.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Until a connection is there.
    pub connect: Duration,
    /// Until a request other than a watch is answered.
    pub request: Duration,
    /// How long a watch is asked for, up to a third more or less so that they do not end together.
    pub watch: Duration,
    /// How long a watch may go on after the time it was asked for, and how long a streaming list may take.
    pub grace: Duration,
    /// How long a streaming list may take before pages are asked for instead.
    pub listing: Duration,
    /// After this time without an event or a bookmark a type is listed anew: after a restore of etcd the server stays
    /// silent about everything until its counter is where it was.
    pub silence: Duration,
    /// Wait after a first failure. It doubles with each further one.
    pub retry: Duration,
    /// Longest wait.
    pub retry_most: Duration,
    /// Changes are published when there was none for this time …
    pub quiet: Duration,
    /// … or when the first of them is this old.
    pub latest: Duration,
    /// How long changes may wait of nothing but statuses that we write: most of them are our own, and they change
    /// nothing that is served.
    pub statuses: Duration,
    /// How long a Lease is valid. Whole seconds.
    pub lease: Duration,
    /// How often its holder renews it, and others look at it.
    pub renew: Duration,
    /// How long something must have been missing before a status says so: `kubectl apply` creates one object after the other.
    pub hold: Duration,
    /// How often wanted and stored statuses are compared without any reason.
    pub sweep: Duration,
    /// Longest wait before a status that was refused is written again.
    pub refused: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            watch: Duration::from_secs(45),
            grace: Duration::from_secs(5),
            listing: Duration::from_secs(10),
            silence: Duration::from_secs(15 * 60),
            retry: Duration::from_millis(200),
            retry_most: Duration::from_secs(5),
            quiet: Duration::from_millis(50),
            latest: Duration::from_secs(1),
            statuses: Duration::from_secs(5),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            hold: Duration::from_secs(2),
            sweep: Duration::from_secs(60),
            refused: Duration::from_secs(60),
        }
    }
}

/// One more client of the cluster, for what is neither watched nor a status.
///
/// # Errors
/// As for [`Cluster::connect`].
pub(crate) async fn client(options: &ClusterOptions) -> Result<kube::Client, ConnectError> {
    client::connect(options).await.map(|(client, _)| client)
}

/// A cluster that is followed.
///
/// Its tasks run on the tokio runtime it was connected on, of either kind, and end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    objects: watch::Receiver<Option<Arc<Objects>>>,
    vitals: Arc<Vitals>,
    api: Api,
    wanted: watch::Sender<Option<Arc<Vec<WantedStatus>>>>,
    /// Set once, when the lease is to be given back.
    leaving: watch::Sender<bool>,
    candidate: Option<JoinHandle<()>>,
    /// Aborted with the set.
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Reads the configuration and begins to follow the cluster. Whether it can be reached is seen in the log and in
    /// [`Cluster::vitals`]: an API server that is away is waited for.
    ///
    /// # Errors
    /// The configuration can't be used; the text says what was tried.
    pub async fn connect(options: ClusterOptions) -> Result<Self, ConnectError> {
        let (client, address) = client::connect(&options).await?;
        tracing::info!(%address, "following the Kubernetes cluster");
        Ok(Self::follow(Api::new(client, &options.timing), options))
    }

    fn follow(api: Api, options: ClusterOptions) -> Self {
        let timing = Arc::new(options.timing.clone());
        let vitals = Arc::new(Vitals::default());
        let store = Arc::new(Store::default());
        let (publish, objects) = watch::channel(None);
        let (wanted, wishes) = watch::channel(None);
        let (leaving, left) = watch::channel(false);
        let mut tasks = JoinSet::new();

        for scope in kind::scopes(&options.namespaces) {
            tasks.spawn(Reflector::new(scope, &api, &store, &vitals, &timing).run());
        }
        tasks.spawn(publisher::run(Arc::clone(&store), Arc::clone(&vitals), publish, Arc::clone(&timing)));
        tasks.spawn(rights::review(api.clone(), options.clone(), Arc::clone(&vitals)));

        let mut candidate = None;
        let (lead, leads) = watch::channel(options.election.is_none());
        if options.write_status {
            let writer = Writer::new(
                api.clone(),
                store,
                Arc::clone(&vitals),
                options.controller_name,
                Arc::clone(&timing),
            );
            tasks.spawn(writer.run(wishes, objects.clone(), leads));
            if let Some(election) = options.election {
                let run = Candidate::new(election, api.clone(), timing, Arc::clone(&vitals), lead).run(left);
                candidate = Some(tokio::spawn(run));
            } else {
                vitals.lead(true);
                tasks.spawn(async move { lead.closed().await });
            }
        }
        Self { objects, vitals, api, wanted, leaving, candidate, _tasks: tasks }
    }

    /// The objects of the cluster: none until all types that must be there have been read once, then all of them anew
    /// with every change. A change in a quiet cluster is seen after 50 ms, and none later than after a second; only
    /// statuses that we write may take five.
    #[must_use]
    pub fn objects(&self) -> watch::Receiver<Option<Arc<Objects>>> {
        self.objects.clone()
    }

    /// How things stand.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Says what the statuses should be, all of them, as computed from the latest [`Cluster::objects`]. What differs is written.
    pub fn want(&self, statuses: Vec<WantedStatus>) {
        self.wanted.send_replace(Some(Arc::new(statuses)));
    }

    /// The version of Gateway API's definitions (`v1.6.1`), if the cluster has them and we may look.
    pub async fn bundle_version(&self) -> Option<String> {
        let definitions = Request::new("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
        let request = definitions.get_metadata("gateways.gateway.networking.k8s.io", &GetParams::default());
        let definition: Value = serde_json::from_slice(&self.api.call(request).await.ok()?).ok()?;
        let version = definition.pointer("/metadata/annotations/gateway.networking.k8s.io~1bundle-version");
        Some(version?.as_str()?.to_owned())
    }

    /// Stops, and gives the Lease back if this replica holds it, so that the next one need not wait until it expires.
    pub async fn leave(mut self) {
        self.leaving.send_replace(true);
        if let Some(candidate) = self.candidate.take() {
            // It asks the server once, with a limit of its own.
            let _ended = candidate.await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(candidate) = &self.candidate {
            candidate.abort();
        }
    }
}
