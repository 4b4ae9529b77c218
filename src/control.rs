//! The control thread: everything that is not a byte on the data path.
//!
//! ```text
//! files, SIGHUP ─► settings ─┐             ┌► mail to every worker
//! name servers ─► addresses ─┴─► Source ─► Routes
//!                                          └► Listeners: sockets, mailed too
//! SIGTERM, SIGINT, end of input ────────► Drain, then the end
//! ```

use crate::admin::{Snapshot, Status, unix_seconds};
use crate::arguments::Serve;
use crate::config::{self, Problem, Settings};
use crate::listeners::Listeners;
use crate::resolve::PATIENCE;
use crate::source::{Source, World};
use crate::workers::Workers;
use futures_util::future::join;
use routing::Routes;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

/// How often the file is looked at. It is small: reading it beats every way of guessing whether it changed.
const WATCH: Duration = Duration::from_secs(2);
/// How often what workers found out of targets is passed on to a cluster.
const OBSERVE: Duration = Duration::from_secs(1);
/// How long hosts that are new in a cluster have to be looked up before they are served without.
const PATIENCE_OF_A_CHANGE: Duration = Duration::from_millis(500);
/// What a worker gets on top of the grace to close its connections.
const CLOSING: Duration = Duration::from_secs(2);
/// How long the cluster may take to let go of this replica.
const LEAVING: Duration = Duration::from_secs(2);

/// Keeps the snapshot in force up to date.
#[derive(Debug)]
pub(crate) struct Control {
    arguments: Serve,
    settings: Settings,
    source: Source,
    world: World,
    listeners: Listeners,
    routes: Arc<Routes>,
    /// The files as they were when they were read last.
    texts: Option<Vec<Vec<u8>>>,
    status: Arc<Status>,
}

/// What ends the process.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Says when the process' own client is done.
    input: Option<mpsc::Receiver<()>>,
}

impl Stop {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, input: None })
    }

    /// Ends with the client that `input` tells of, too.
    pub(crate) fn with_input(&mut self, input: mpsc::Receiver<()>) {
        self.input = Some(input);
    }

    /// The next of them, by name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = end_of(&mut self.input) => "end of input",
        }
    }
}

async fn end_of(input: &mut Option<mpsc::Receiver<()>>) {
    match input {
        Some(input) => _ = input.recv().await,
        None => pending().await,
    }
    // It ends once.
    *input = None;
}

/// Waits until no worker is left.
async fn drained(workers: &Workers, limit: Duration) {
    let end = Instant::now() + limit;
    while !workers.are_gone() {
        if Instant::now() > end {
            tracing::warn!("a worker did not end within the grace, leaving it behind");
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

impl Control {
    /// Takes over a gateway that serves `routes`, made by `source`, by `settings`, and listens where they say.
    pub(crate) async fn new(
        arguments: Serve,
        settings: Settings,
        (source, world): (Source, World),
        routes: Arc<Routes>,
        status: Arc<Status>,
    ) -> Self {
        let listeners = Listeners::new(match arguments.cluster {
            Some(_) => "--bind, or another port in the Gateway",
            None => "--listen, or another port in the Gateway",
        });
        let mut control = Self { arguments, settings, source, world, listeners, routes, texts: None, status };
        control.have_new_texts();
        control.follow_routes().await;
        control
    }

    /// What is in force of the settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who says what is served.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What is served.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What is told of it.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// Serves until told to stop, then until everything under way is done or the grace is over. `false` when a
    /// second signal cut that short.
    pub(crate) async fn run(mut self, mut stop: Stop, hangup: Signal) -> bool {
        let signal = tokio::select! {
            signal = stop.next() => signal,
            never = self.watch(hangup) => match never {},
        };
        let grace = self.settings.shutdown;
        tracing::info!(signal, ?grace, "shutting down; a second signal ends it at once");
        self.status.draining.store(true, Relaxed);
        self.status.workers.drain(grace).await;
        let Self { source, status, .. } = &mut self;
        let left = timeout(LEAVING, source.leave());
        let drained = drained(&status.workers, grace + CLOSING);
        tokio::select! {
            _ = join(left, drained) => true,
            _ = stop.next() => false,
        }
    }

    /// Follows the files, SIGHUP, the name servers, and who else uses the addresses it wants.
    async fn watch(&mut self, mut hangup: Signal) -> Infallible {
        let every = |period| interval_at(Instant::now() + period, period);
        let (mut watch, mut observe) = (every(WATCH), every(OBSERVE));
        for interval in [&mut watch, &mut observe] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                _ = watch.tick(), if self.texts.is_some() => {
                    if self.have_new_texts() {
                        self.reload().await;
                    }
                }
                () = self.source.changed() => {
                    self.source.look_around().await;
                    self.reroute(PATIENCE_OF_A_CHANGE).await;
                }
                () = self.world.resolver.changed() => self.reroute(PATIENCE_OF_A_CHANGE).await,
                _ = observe.tick(), if self.arguments.cluster.is_some() => self.heed_workers().await,
                () = self.listeners.due() => {
                    self.listeners.retry(&self.status.workers).await;
                    self.heed_listeners().await;
                }
            }
        }
    }

    /// Whether the files say something else than last time. While one can't be read they say nothing.
    fn have_new_texts(&mut self) -> bool {
        let texts: Option<Vec<Vec<u8>>> =
            self.arguments.files().map(|path| config::bytes(path).ok()).collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        if texts.is_none() || texts == self.texts {
            return false;
        }
        self.texts = texts;
        true
    }

    /// Reads the configuration again; a bad one leaves everything as it is.
    async fn reload(&mut self) {
        // Before the settings are read: what is written in between counts as new.
        self.have_new_texts();
        let (settings, notes) = match self.read() {
            Ok(read) => read,
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "configuration not reloaded, the old one stays in force");
                }
                self.status.reloads_failed.fetch_add(1, Relaxed);
                self.status.config_is_current.store(false, Relaxed);
                return;
            }
        };
        for note in notes {
            tracing::warn!(note, "configuration");
        }
        let keys = self.settings.fixed_keys_changed(&settings).join(", ");
        if !keys.is_empty() {
            tracing::warn!(keys, "these keys changed and take effect after a restart");
        }
        // What needs a restart stays as it is; a second reload warns again.
        match (&mut self.source, settings.manifests) {
            (Source::Servers(_), _) if self.arguments.is_demo() => {}
            (Source::Servers(servers), _) => *servers = settings.servers,
            (Source::Kubernetes(kubernetes), Some(objects)) => kubernetes.replace(objects),
            (Source::Kubernetes(_), None) => {}
        }
        self.settings.shutdown = settings.shutdown;
        self.status.reloads.fetch_add(1, Relaxed);
        self.status.config_is_current.store(true, Relaxed);
        self.status.config_loaded.store(unix_seconds(), Relaxed);
        self.world.resolver.refresh();
        self.reroute(PATIENCE).await;
        tracing::info!(targets = self.routes.all_targets().count(), "configuration reloaded");
    }

    fn read(&self) -> config::Read {
        let (settings, notes) = self.arguments.settings()?;
        let are_manifests = matches!(self.source, Source::Kubernetes(_));
        if self.arguments.cluster.is_none() && settings.manifests.is_some() != are_manifests {
            let message = "from a configuration to Kubernetes manifests, or back, it takes a restart";
            return Err(vec![Problem::of_flag("--config", message.to_owned())]);
        }
        Ok((settings, notes))
    }

    /// Puts in force what the source says now, if it is something else.
    async fn reroute(&mut self, patience: Duration) {
        // Names of targets are checked where they are read, so this doesn't fail.
        let Ok(routes) = self.source.routes(&mut self.world, &self.routes, patience).await else { return };
        if routes != *self.routes {
            self.routes = Arc::new(routes);
            self.follow_routes().await;
        } else {
            self.report();
        }
    }

    async fn follow_routes(&mut self) {
        self.listeners.reroute(&self.routes, &self.status.workers).await;
        self.heed_listeners().await;
        self.report();
    }

    /// Has the source know what can't be listened on.
    async fn heed_listeners(&mut self) {
        if self.world.unbound != *self.listeners.unbound() {
            self.world.unbound.clone_from(self.listeners.unbound());
            // It is told in statuses alone: the routes are the same.
            _ = self.source.routes(&mut self.world, &self.routes, PATIENCE_OF_A_CHANGE).await;
            self.report();
        }
    }

    /// Has the source know what workers found out of targets.
    async fn heed_workers(&mut self) {
        let observed = self.status.observed.merged();
        if self.world.observed != observed {
            self.world.observed = observed;
            // It is told in statuses alone: the routes are the same.
            _ = self.source.routes(&mut self.world, &self.routes, PATIENCE_OF_A_CHANGE).await;
        }
    }

    fn report(&self) {
        let routes = Arc::clone(&self.routes);
        let mut snapshot = Snapshot { in_force: true, routes, ..Snapshot::default() };
        if let Source::Kubernetes(kubernetes) = &self.source {
            snapshot.in_force = kubernetes.is_there();
            snapshot.took = Some(kubernetes.took());
        }
        for target in self.routes.all_targets() {
            snapshot.targets += 1;
            snapshot.unresolved += usize::from(target.process.is_none() && target.endpoints.is_empty());
            snapshot.endpoints += target.endpoints.len();
        }
        snapshot.backends = self.routes.backends().len();
        let rules = |address| self.routes.port(&address).map_or(0, |port| port.rules().count());
        snapshot.rules = self.routes.addresses().map(rules).sum();
        snapshot.bound = self.listeners.bound().len();
        snapshot.unbound = self.listeners.unbound().values().cloned().collect();
        self.status.show(snapshot);
    }
}
