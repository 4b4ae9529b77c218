//! The worker threads: which frontend drives them, and mail to all of them.

use crate::config::{Runtime, Settings};
use mcp_proto::{Config, Counters, Keys, Mail, Observation, Record, ShardId, Start, Timeouts};
use routing::Routes;
use runtime::{Letter, Spawn, Worker};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A frontend that can run here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Frontend {
    Tokio,
    Glommio,
}

impl Frontend {
    /// The frontend `runtime` stands for on this machine.
    ///
    /// # Errors
    /// Why glommio, asked for by name, can't run.
    pub(crate) fn choose(runtime: Runtime) -> Result<Self, String> {
        match runtime {
            Runtime::Tokio => Ok(Self::Tokio),
            Runtime::Glommio => runtime_glommio::probe().map(|()| Self::Glommio),
            Runtime::Auto => Ok(match runtime_glommio::probe() {
                Ok(()) => Self::Glommio,
                Err(reason) => {
                    tracing::info!(reason, "glommio can't run here, using tokio");
                    Self::Tokio
                }
            }),
        }
    }

    /// Its name, as in `--runtime`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Glommio => "glommio",
        }
    }
}

/// All worker threads of this process.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Arc<[async_channel::Sender<Letter>]>,
    counters: Vec<Arc<Counters>>,
}

impl Workers {
    /// Starts `config.shards` workers and returns once all of them serve. The first one has the `console`.
    ///
    /// # Errors
    /// When one can't be started.
    pub(crate) fn start(
        frontend: Frontend,
        config: Arc<Config>,
        routes: &Arc<Routes>,
        mut console: Option<UnixStream>,
        children: Arc<dyn Spawn>,
        records: SyncSender<Box<Record>>,
        observations: async_channel::Sender<(ShardId, Box<Observation>)>,
    ) -> io::Result<Self> {
        let (mailboxes, mails): (Vec<_>, Vec<_>) =
            (0..config.shards).map(|_| async_channel::unbounded()).unzip();
        let mailboxes: Arc<[_]> = mailboxes.into();
        let (mut threads, mut counters) = (Vec::new(), Vec::new());
        for (id, mail) in (0..).zip(mails) {
            let counted = Arc::<Counters>::default();
            let start = Start {
                id: ShardId(id),
                config: config.clone(),
                routes: routes.clone(),
                seed: entropy(),
                unix: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
                counters: counted.clone(),
            };
            counters.push(counted);
            let (peers, children, records) = (mailboxes.clone(), children.clone(), records.clone());
            let observations = observations.clone();
            let console = console.take();
            let worker = Worker { start, entropy, console, mail, peers, children, records, observations };
            threads.push(frontend.spawn(worker)?);
        }
        Ok(Self { threads, mailboxes, counters })
    }

    /// Whether every worker is alive.
    pub(crate) fn are_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Whether no worker is left.
    pub(crate) fn are_gone(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// What they counted.
    pub(crate) fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Puts `routes` in force.
    pub(crate) async fn reroute(&self, routes: &Arc<Routes>) {
        for mailbox in self.mailboxes.iter() {
            // Only a worker that is gone has closed its mailbox.
            _ = mailbox.send(Letter::Shard(Mail::Reroute(routes.clone()))).await;
        }
    }

    /// Accepts at `at` as well, with one of `listeners` for each worker.
    pub(crate) async fn listen(&self, at: SocketAddr, listeners: Vec<TcpListener>) {
        for (mailbox, listener) in self.mailboxes.iter().zip(listeners) {
            _ = mailbox.send(Letter::Listen { at, listener }).await;
        }
    }

    /// Accepts no more at `at`; what is under way on connections there may finish.
    pub(crate) async fn unlisten(&self, at: SocketAddr) {
        for mailbox in self.mailboxes.iter() {
            _ = mailbox.send(Letter::Unlisten { at }).await;
        }
    }

    /// Lets what is under way finish within `grace`.
    pub(crate) async fn drain(&self, grace: Duration) {
        for mailbox in self.mailboxes.iter() {
            _ = mailbox.send(Letter::Shard(Mail::Drain(grace))).await;
        }
    }
}

impl Frontend {
    fn spawn(self, worker: Worker) -> io::Result<JoinHandle<()>> {
        match self {
            Self::Tokio => runtime_tokio::spawn(worker),
            Self::Glommio => runtime_glommio::spawn(worker),
        }
    }
}

/// How many workers `settings` ask for: one per core, if they don't say.
pub(crate) fn count(settings: &Settings) -> u16 {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1024) as u16);
    settings.workers.unwrap_or_else(cores)
}

/// What the shards are told of `settings`.
pub(crate) fn config(settings: &Settings) -> Config {
    let keys = match settings.session_keys.split_first() {
        Some((newest, older)) => Keys::new(*newest, older),
        None => {
            tracing::info!(
                "no sessionKey is configured: a random one is used, so sessions end with this process and \
                 other replicas don't know them"
            );
            Keys::new(entropy(), &[])
        }
    };
    Config {
        shards: count(settings),
        limits: settings.limits,
        timeouts: Timeouts { shutdown: settings.shutdown, ..settings.timeouts },
        access_log: settings.access_log,
        allowed_hosts: settings.allowed_hosts.clone(),
        allowed_origins: settings.allowed_origins.clone(),
        keys,
    }
}

/// Fresh entropy. Without it no secret is safe, so there is no way on.
pub(crate) fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the operating system gives no entropy");
        std::process::abort();
    }
    bytes
}
