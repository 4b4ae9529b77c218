//! A fake API server, and the cluster as it is seen from the gateway.

use fake_kubernetes::{FakeKubernetes, Timings};
use k8s_adapter::cluster::{Board, Cluster, ClusterOptions, Timing};
use k8s_adapter::objects::Objects;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Resources as the fake names them.
pub(crate) const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
pub(crate) const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
pub(crate) const BACKENDS: &str = "backends.gateway.kgateway.dev";
pub(crate) const GRANTS: &str = "referencegrants.gateway.networking.k8s.io";

/// A cluster, and the gateway's view of it.
pub(crate) struct Scene {
    pub(crate) fake: FakeKubernetes,
    pub(crate) cluster: Cluster,
    objects: watch::Receiver<Option<Arc<Objects>>>,
}

/// Times for tests.
pub(crate) fn timing() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        request: Duration::from_secs(5),
        watch: Duration::from_secs(3),
        grace: Duration::from_secs(1),
        listing: Duration::from_secs(5),
        silence: Duration::from_secs(15 * 60),
        retry: Duration::from_millis(10),
        retry_most: Duration::from_millis(100),
        quiet: Duration::from_millis(20),
        latest: Duration::from_millis(200),
        statuses: Duration::from_millis(200),
        lease: Duration::from_secs(3),
        renew: Duration::from_millis(500),
        hold: Duration::from_millis(300),
        sweep: Duration::from_millis(200),
        refused: Duration::from_millis(400),
    }
}

/// Some of everything.
const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: agentgateway}
spec: {controllerName: us}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: default}
spec: {gatewayClassName: agentgateway, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: default}
spec: {parentRefs: [{name: g}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: grant, namespace: default}
spec: {from: [], to: []}
---
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata: {name: b, namespace: default}
spec: {type: MCP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: default, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: default}
spec: {ports: [{port: 80}]}
";

/// A server that is ours alone, with some of everything.
pub(crate) fn server() -> FakeKubernetes {
    let fake = FakeKubernetes::start_with(0, Timings::default());
    fake.apply(OBJECTS);
    fake
}

/// A Service.
pub(crate) fn service(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: '{name}', namespace: default}}, spec: {{ports: [{{port: 80}}]}}}}"
    )
}

/// What a gateway is told when it is started.
pub(crate) fn options(fake: &FakeKubernetes) -> ClusterOptions {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("kubeconfig-{}", FILES.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, fake.kubeconfig()).unwrap();
    ClusterOptions {
        kubeconfig: Some(path),
        controller_name: "us".to_owned(),
        timing: timing(),
        ..ClusterOptions::default()
    }
}

impl Scene {
    /// Follows a server.
    pub(crate) async fn with(fake: FakeKubernetes, change: impl FnOnce(&mut ClusterOptions)) -> Self {
        let mut options = options(&fake);
        change(&mut options);
        let cluster = Cluster::connect(options).await.unwrap();
        let objects = cluster.objects();
        Self { fake, cluster, objects }
    }

    /// Follows a server, and waits until all of it is there.
    pub(crate) async fn complete(fake: FakeKubernetes) -> Self {
        let mut scene = Self::with(fake, |_| ()).await;
        scene.sees("everything", |_| true).await;
        scene
    }

    /// Waits until the published objects are as expected.
    pub(crate) async fn sees(&mut self, what: &str, expected: impl Fn(&Objects) -> bool) -> Arc<Objects> {
        let vitals = self.cluster.vitals();
        let seen = self.objects.wait_for(|objects| objects.as_deref().is_some_and(&expected));
        match timeout(PATIENCE, seen).await {
            Ok(seen) => seen.unwrap().clone().unwrap(),
            Err(_) => panic!("{what}: not seen; {:#?}", vitals.board()),
        }
    }

    /// What is published now.
    pub(crate) fn published(&self) -> Option<Arc<Objects>> {
        self.objects.borrow().clone()
    }

    /// Makes a new Service and waits for it: everything of that type that happened before has been seen then.
    pub(crate) async fn sees_new_service(&mut self, name: &str) -> Arc<Objects> {
        self.fake.apply(&service(name));
        self.sees(name, |objects| services(objects).contains(&name)).await
    }

    /// The vitals now.
    pub(crate) fn board(&self) -> Board {
        self.cluster.vitals().board()
    }

    /// Waits until the vitals are as expected.
    pub(crate) async fn feels(&self, what: &str, expected: impl Fn(&Board) -> bool) -> Board {
        let felt = async {
            loop {
                let board = self.board();
                if expected(&board) {
                    return board;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, felt).await.unwrap_or_else(|_| panic!("{what}: not felt; {:#?}", self.board()))
    }

    /// Waits until all types are watched, so that a disturbance of watches meets them.
    pub(crate) async fn is_watched(&self) {
        self.fake.until("all types watched", |fake| (fake.watches().len() >= 8).then_some(())).await;
    }

    /// How often a type was listed.
    pub(crate) fn resyncs(&self, kind: &str) -> u64 {
        kind_of(&self.board(), kind).resyncs
    }
}

/// The vitals of a type.
pub(crate) fn kind_of<'a>(board: &'a Board, kind: &str) -> &'a k8s_adapter::cluster::KindVitals {
    board.kinds.iter().find(|vitals| vitals.name == kind).unwrap()
}

/// The names of all Services.
pub(crate) fn services(objects: &Objects) -> Vec<&str> {
    objects.services.keys().map(|key| key.name.as_str()).collect()
}
