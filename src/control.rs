//! The control thread: everything that is not a byte on the data path.
//!
//! ```text
//! file, SIGHUP ─► settings ─┐
//! name servers ─► addresses ┴─► Routes ─► mail to every worker
//! SIGTERM, SIGINT, end of input ────────► Drain, then the end
//! ```

use crate::admin::{Status, unix_seconds};
use crate::arguments::Serve;
use crate::config::Settings;
use crate::resolve::Resolver;
use routing::{Routes, Target};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// How often the file is looked at. It is small: reading it beats every way of guessing whether it changed.
const WATCH: Duration = Duration::from_secs(2);
/// How often names are looked up again: getaddrinfo doesn't tell how long an answer holds.
const RESOLVE: Duration = Duration::from_secs(30);
/// The same while a name has no address yet.
const RESOLVE_MISSING: Duration = Duration::from_secs(5);
/// What a worker gets on top of the grace to close its connections.
const CLOSING: Duration = Duration::from_secs(2);

/// Keeps the snapshot in force up to date.
#[derive(Debug)]
pub(crate) struct Control {
    arguments: Serve,
    settings: Settings,
    resolver: Resolver,
    routes: Arc<Routes>,
    /// The file as it was when it was read last.
    text: Option<Vec<u8>>,
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

impl Control {
    /// Takes over a gateway that serves `routes` by `settings`.
    pub(crate) fn new(
        arguments: Serve,
        settings: Settings,
        resolver: Resolver,
        routes: Arc<Routes>,
        status: Arc<Status>,
    ) -> Self {
        let mut control = Self { arguments, settings, resolver, routes, text: None, status };
        control.has_new_text();
        control.report_targets();
        control
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
        tokio::select! {
            () = self.drained(grace + CLOSING) => true,
            _ = stop.next() => false,
        }
    }

    async fn drained(&self, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.status.workers.are_gone() {
            if Instant::now() > end {
                tracing::warn!("a worker did not end within the grace, leaving it behind");
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Follows the file, SIGHUP and the name servers.
    async fn watch(&mut self, mut hangup: Signal) -> Infallible {
        let mut resolve_at = self.next_resolve();
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                () = sleep(WATCH), if self.arguments.config.is_some() => {
                    if self.has_new_text() {
                        self.reload().await;
                    }
                }
                () = sleep_until(resolve_at) => {
                    self.reroute().await;
                    resolve_at = self.next_resolve();
                }
            }
        }
    }

    fn next_resolve(&self) -> Instant {
        Instant::now() + if self.resolver.is_complete() { RESOLVE } else { RESOLVE_MISSING }
    }

    /// Whether the file says something else than last time. While it can't be read it says nothing.
    fn has_new_text(&mut self) -> bool {
        let text = self.arguments.config.as_ref().and_then(|path| std::fs::read(path).ok());
        if text.is_none() || text == self.text {
            return false;
        }
        self.text = text;
        true
    }

    /// Reads the configuration again; a bad one leaves everything as it is.
    async fn reload(&mut self) {
        // Before the settings are read: what is written in between counts as new.
        self.has_new_text();
        let (settings, notes) = match self.arguments.settings() {
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
        if !self.arguments.is_demo() {
            self.settings.servers = settings.servers;
        }
        self.settings.shutdown = settings.shutdown;
        self.status.reloads.fetch_add(1, Relaxed);
        self.status.config_is_current.store(true, Relaxed);
        self.status.config_loaded.store(unix_seconds(), Relaxed);
        self.reroute().await;
        tracing::info!(targets = self.routes.all_targets().count(), "configuration reloaded");
    }

    /// Looks names up and puts the snapshot in force, if it is another one.
    async fn reroute(&mut self) {
        // Names of targets are checked where they are read, so this doesn't fail.
        let Ok(routes) = self.resolver.routes(&self.settings).await else { return };
        if routes != *self.routes {
            self.routes = Arc::new(routes);
            self.status.workers.reroute(&self.routes).await;
            self.report_targets();
        }
    }

    fn report_targets(&self) {
        self.status.targets.store(self.routes.all_targets().count(), Relaxed);
        let is_unresolved = |target: &&Arc<Target>| target.process.is_none() && target.endpoints.is_empty();
        let unresolved = self.routes.all_targets().filter(is_unresolved).count();
        self.status.targets_unresolved.store(unresolved, Relaxed);
    }
}
