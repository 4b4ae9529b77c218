//! The server: a thread with a listener, and access from within the process.

use crate::cluster::{Caller, Cluster, StatusWrite, Target};
use crate::faults::{Faults, Plan, Running};
use crate::front;
use crate::refusal::Refusal;
use crate::write::Verb;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc as async_mpsc, watch};
use tokio::task::JoinSet;

/// Connections that the listener keeps waiting.
const BACKLOG: i32 = 1024;
/// How long `until` waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Times of the server that tests want shorter.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Between bookmarks; 60 s on real servers.
    pub bookmark_every: Duration,
    /// A watch without `timeoutSeconds`; a random time from 30 to 60 minutes on real servers.
    pub watch_lifetime: Duration,
    /// A list at a revision of the future fails after so long; 3 s on real servers.
    pub too_large_after: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            bookmark_every: Duration::from_secs(60),
            watch_lifetime: Duration::from_mins(30),
            too_large_after: Duration::from_secs(3),
        }
    }
}

/// Cluster and faults, under one lock.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) plan: Plan,
    streams: u64,
}

impl World {
    /// Notes a watch, and returns what it is found by.
    pub(crate) fn register(&mut self, running: Running) -> u64 {
        self.streams += 1;
        self.plan.running.insert(self.streams, running);
        self.streams
    }
}

/// What the server's thread and its users share.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    /// Moves whenever the world may have changed.
    pub(crate) pulse: watch::Sender<u64>,
    pub(crate) timings: Timings,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake(&self) {
        self.pulse.send_modify(|pulse| *pulse += 1);
    }
}

/// To the server's thread; it answers when it is done.
enum Order {
    Listen(TcpListener, mpsc::Sender<()>),
    Stop(mpsc::Sender<()>),
}

/// A Kubernetes API server on a port of the loopback interface, which lives as long as this.
#[derive(Debug)]
pub struct FakeKubernetes {
    shared: Arc<Shared>,
    address: SocketAddr,
    orders: async_mpsc::UnboundedSender<Order>,
    /// Holds the port while nobody listens.
    held: Mutex<Option<Socket>>,
}

impl FakeKubernetes {
    /// Starts on a free port. Serves from a thread of its own, so that it works under any runtime and without one.
    pub fn start() -> Self {
        Self::start_with(0, Timings::default())
    }

    /// Starts on a port (0: a free one) with other times.
    ///
    /// # Panics
    /// If the port is taken or no thread can be started.
    pub fn start_with(port: u16, timings: Timings) -> Self {
        let world = World { cluster: Cluster::new(&now()), plan: Plan::default(), streams: 0 };
        let shared = Arc::new(Shared { world: Mutex::new(world), pulse: watch::Sender::new(0), timings });
        let held = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = held.local_addr().ok().and_then(|address| address.as_socket());
        let (orders, received) = async_mpsc::unbounded_channel();
        let serving = Arc::clone(&shared);
        thread::Builder::new()
            .name("fake-kubernetes".to_owned())
            .spawn(move || serve(serving, received))
            .expect("a thread for the server");
        let server = Self {
            shared,
            address: address.expect("a socket that is bound has an address"),
            orders,
            held: Mutex::new(Some(held)),
        };
        server.listen();
        server
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\nclusters:\n- name: fake\n  cluster: {{server: '{}'}}\n\
             users:\n- name: fake\n  user: {{}}\ncontexts:\n- name: fake\n  context: {{cluster: fake, user: fake, \
             namespace: default}}\n",
            self.url()
        )
    }

    /// What can go wrong.
    pub fn faults(&self) -> Faults<'_> {
        Faults(self)
    }

    /// Applies manifests (YAML or JSON, several documents, lists) as `kubectl apply --server-side --force-conflicts` does,
    /// status aside, and returns them as stored.
    ///
    /// # Panics
    /// If a document is refused.
    pub fn apply(&self, manifests: &str) -> Vec<Value> {
        documents(manifests)
            .into_iter()
            .map(|body| self.send(|_| Verb::Apply { body: body.clone(), force: true }, &body, false))
            .collect()
    }

    /// Applies the status of manifests, as controllers do through the status endpoint.
    ///
    /// # Panics
    /// If a document is refused.
    pub fn apply_status(&self, manifests: &str) -> Vec<Value> {
        documents(manifests)
            .into_iter()
            .map(|body| self.send(|_| Verb::Apply { body: body.clone(), force: true }, &body, true))
            .collect()
    }

    /// Merges into an object (`namespace/name`, or `name`) of a resource; `null` removes fields.
    ///
    /// # Panics
    /// If there is no such object, or the change is refused.
    pub fn patch(&self, resource: &str, name: &str, patch: Value) -> Value {
        self.merge(resource, name, patch, false)
    }

    /// As `patch`, through the status endpoint: `patch` has a field `status`.
    ///
    /// # Panics
    /// If there is no such object, or the change is refused.
    pub fn patch_status(&self, resource: &str, name: &str, patch: Value) -> Value {
        self.merge(resource, name, patch, true)
    }

    /// An object (`namespace/name`, or `name`) of a resource (plural, or plural and group).
    pub fn find(&self, resource: &str, name: &str) -> Option<Value> {
        let world = self.shared.lock();
        let target = target(&world.cluster, resource, name)?;
        world.cluster.find(&target).ok()
    }

    /// All objects of a resource, by namespace and name.
    pub fn all(&self, resource: &str) -> Vec<Value> {
        let world = self.shared.lock();
        let Some(target) = target(&world.cluster, resource, "") else { return Vec::new() };
        let objects = world.cluster.store.all(&target.key().resource, None);
        objects.iter().map(|(_, object)| Value::clone(object)).collect()
    }

    /// Deletes an object; `false` if there is none.
    pub fn delete(&self, resource: &str, name: &str) -> bool {
        self.change(|world| {
            let target = target(&world.cluster, resource, name);
            target.is_some_and(|target| world.cluster.delete(&target, &Value::Null, &now()).is_ok())
        })
    }

    /// All writes of statuses so far that changed something, in order.
    pub fn writes(&self) -> Vec<StatusWrite> {
        self.shared.lock().cluster.writes.clone()
    }

    /// The revision of the last write of anything.
    pub fn revision(&self) -> u64 {
        self.shared.lock().cluster.store.revision()
    }

    /// The resources that are being watched, once for each watch, sorted.
    pub fn watches(&self) -> Vec<String> {
        let world = self.shared.lock();
        let mut watches: Vec<_> =
            world.plan.running.values().map(|running| running.resource.clone()).collect();
        watches.sort();
        watches
    }

    /// Waits until `find` finds something; looks again at every change.
    ///
    /// # Panics
    /// After 30 s, naming what was waited for.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut(&Self) -> Option<T>) -> T {
        let mut pulse = self.shared.pulse.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                pulse.borrow_and_update();
                if let Some(found) = find(self) {
                    return found;
                }
                if pulse.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
    }

    /// Changes the world, and tells all who watch it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let done = change(&mut self.shared.lock());
        self.shared.wake();
        done
    }

    /// Puts an object in the place of another.
    pub(crate) fn replace(&self, manifest: &Value) {
        self.send(|_| Verb::Replace(manifest.clone()), manifest, false);
    }

    fn send(&self, verb: impl FnOnce(&Target) -> Verb, manifest: &Value, status: bool) -> Value {
        let written = self.change(|world| {
            let target = Target { status, ..world.cluster.target_of(manifest)? };
            let verb = verb(&target);
            world.cluster.write(&target, verb, &caller())
        });
        accepted(written)
    }

    fn merge(&self, resource: &str, name: &str, patch: Value, status: bool) -> Value {
        let written = self.change(|world| {
            let found = target(&world.cluster, resource, name);
            let found = found.ok_or_else(|| Refusal::new(404, format!("no resource {resource}")))?;
            world.cluster.write(&Target { status, ..found }, Verb::Merge(patch), &caller())
        });
        accepted(written)
    }

    /// Listens on the port that was held.
    pub(crate) fn listen(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(held) = held else { return };
        held.listen(BACKLOG).expect("the port is ours");
        held.set_nonblocking(true).expect("a socket can be made non-blocking");
        self.order(|done| Order::Listen(held.into(), done));
    }

    /// Breaks all connections, and holds the port.
    pub(crate) fn stop(&self) {
        self.order(Order::Stop);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(bind(self.address));
    }

    fn order(&self, order: impl FnOnce(mpsc::Sender<()>) -> Order) {
        let (done, told) = mpsc::channel();
        let sent = self.orders.send(order(done)).is_ok();
        assert!(sent && told.recv_timeout(PATIENCE).is_ok(), "the server's thread lives");
    }
}

/// The caller of what comes from within the process.
fn caller() -> Caller {
    Caller { manager: "test".to_owned(), now: now(), dry_run: false }
}

/// The time now as objects carry it.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn accepted(written: Result<(u16, Value), Refusal>) -> Value {
    match written {
        Ok((_, object)) => object,
        Err(refusal) => panic!("refused: {}", refusal.status()),
    }
}

fn target(cluster: &Cluster, resource: &str, name: &str) -> Option<Target> {
    let kind = cluster.kinds.resource(resource)?;
    let (namespace, name) =
        name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
    let namespace = kind.namespaced.then(|| namespace.unwrap_or("default").to_owned());
    Some(Target {
        version: kind.version().to_owned(),
        kind: Arc::clone(kind),
        namespace,
        name: name.to_owned(),
        status: false,
    })
}

/// The documents of a text, lists taken apart.
fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => panic!("manifests can't be read: {error}"),
    };
    let split = |document: Value| match document.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![document],
    };
    documents.into_iter().filter(|document| !document.is_null()).flat_map(split).collect()
}

fn bind(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an address can be bound again");
    match socket.bind(&address.into()) {
        Ok(()) => socket,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// The server's thread: carries orders out until nobody can give any.
fn serve(shared: Arc<Shared>, mut orders: async_mpsc::UnboundedReceiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let mut tasks = JoinSet::new();
        while let Some(order) = orders.recv().await {
            match order {
                Order::Listen(listener, done) => {
                    tasks.spawn(accept(listener, Arc::clone(&shared)));
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Order::Stop(done) => {
                    tasks.shutdown().await;
                    let _ = done.send(());
                }
            }
        }
    });
}

/// Accepts connections; they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that does not block");
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        if !shared.lock().plan.closing {
            connections.spawn(front::serve(stream, Arc::clone(&shared)));
        }
    }
}
