//! Child processes: MCP servers that are programs on this machine.
//!
//! ```text
//! worker ── Child ──► Children ── order and descriptors ──► keeper ── fork, exec ──► child
//!    └───────────────────── its standard input and output ────────────────────────────┘
//!                     log ◄──────────── its standard error ───────────────────────────┘
//! ```
//!
//! A worker has the ends of a child's input and output and knows nothing of processes. [`Children`] passes what it wants
//! started on to the [`keeper`], a process of its own that starts and ends all of them; it is started with the first
//! child. What children write to standard error goes to the log, with the name of their target.

pub(crate) mod keeper;
mod lines;
mod order;

use lines::Lines;
use order::{Ends, Order, Report};
use routing::TargetName;
use runtime::{Child, Spawn};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::task::JoinHandle;

/// Children that may wait to be started.
const WAITING: usize = 1024;
/// How long the keeper has to end what is left when the gateway ends. It needs five seconds with the most stubborn ones,
/// and goes on without the gateway.
const CLOSING: Duration = Duration::from_secs(6);

/// Where workers leave what they want started.
#[derive(Debug)]
pub(crate) struct Children {
    waiting: async_channel::Sender<Child>,
}

impl Spawn for Children {
    fn spawn(&self, child: Child) {
        let lost = match self.waiting.try_send(child) {
            Ok(()) => return,
            Err(lost) => lost.into_inner(),
        };
        tracing::warn!(target = %lost.target, "can't start the process: too many are being started already");
    }
}

/// The task behind [`Children`].
#[derive(Debug)]
pub(crate) struct Keeping {
    children: Arc<Children>,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Has children started on the present tokio runtime, by a keeper that `command` starts.
    pub(crate) fn start(command: fn() -> Command) -> Self {
        let (waiting, starting) = async_channel::bounded(WAITING);
        let children = Arc::new(Children { waiting });
        Self { children, task: tokio::spawn(keep(starting, command)) }
    }

    /// For the workers.
    pub(crate) fn children(&self) -> Arc<Children> {
        Arc::clone(&self.children)
    }

    /// Starts no more; returns when all that were started are gone, which they are soon after their connections are
    /// closed.
    pub(crate) async fn end(self) {
        self.children.waiting.close();
        if tokio::time::timeout(CLOSING, self.task).await.is_err() {
            tracing::warn!("some processes have not ended yet, leaving them to the keeper");
        }
    }
}

async fn keep(starting: async_channel::Receiver<Child>, command: fn() -> Command) {
    let mut keeper: Option<Keeper> = None;
    let mut id = 0;
    while let Ok(child) = starting.recv().await {
        id += 1;
        let target = child.target.clone();
        if let Err(error) = pass_on(&mut keeper, id, child, command).await {
            tracing::error!(%target, %error, "can't start the process: there is no keeper for it");
            // It ends what it has; the next child gets another one.
            keeper = None;
        }
    }
    if let Some(keeper) = keeper {
        keeper.end().await;
    }
}

/// Gives `child` to the keeper, a new one if there is none alive.
async fn pass_on(
    keeper: &mut Option<Keeper>,
    id: u64,
    child: Child,
    command: fn() -> Command,
) -> io::Result<()> {
    let Child { target, process, stdin, stdout, released } = child;
    let (lines, stderr) = io::pipe()?;
    let ends =
        Ends { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), released: released.into() };
    let order = Order {
        id,
        command: process.command.clone(),
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
    };
    // One that has just died refuses it: the child is no worse for that.
    let taken = match keeper.as_mut().filter(|keeper| !keeper.listening.is_finished()) {
        Some(alive) => alive.start_child(&target, &order, &ends).await.is_ok(),
        None => false,
    };
    if !taken {
        keeper.insert(Keeper::start(command())?).start_child(&target, &order, &ends).await?;
    }
    tokio::spawn(log(target, lines));
    Ok(())
}

/// The keeper as the gateway sees it.
struct Keeper {
    orders: OwnedWriteHalf,
    listening: JoinHandle<()>,
    known: Arc<Mutex<Known>>,
}

/// By the number of their order: the children that have not ended.
type Known = BTreeMap<u64, Started>;

struct Started {
    target: TargetName,
    /// None while it is being started.
    group: Option<Pid>,
}

impl Keeper {
    fn start(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // Neither the gateway's output, which may be a protocol, nor who waits for its end is the keeper's.
        command.stdin(OwnedFd::from(theirs));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = tokio::process::Command::from(command).spawn()?;
        ours.set_nonblocking(true)?;
        let (reports, orders) = tokio::net::UnixStream::from_std(ours)?.into_split();
        let known = Arc::<Mutex<Known>>::default();
        let listening = tokio::spawn(listen(process, reports, Arc::clone(&known)));
        Ok(Self { orders, listening, known })
    }

    async fn start_child(&mut self, target: &TargetName, order: &Order, ends: &Ends) -> io::Result<()> {
        lock(&self.known).insert(order.id, Started { target: target.clone(), group: None });
        let sent = order::send(&mut self.orders, order, ends).await;
        if sent.is_err() {
            lock(&self.known).remove(&order.id);
        }
        sent
    }

    async fn end(self) {
        drop(self.orders);
        // It doesn't panic, and nothing follows if it does.
        _ = self.listening.await;
    }
}

/// Logs what the keeper reports, until it ends. It does so when it has ended its children; those that another keeper
/// leaves behind are killed.
async fn listen(mut keeper: tokio::process::Child, reports: OwnedReadHalf, known: Arc<Mutex<Known>>) {
    let mut lines = BufReader::new(reports).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(report) = serde_json::from_str(&line) {
            hear(report, &known);
        }
    }
    let left: Vec<Started> = std::mem::take(&mut *lock(&known)).into_values().collect();
    for child in &left {
        if let Some(group) = child.group {
            _ = kill_process_group(group, Signal::KILL);
        }
    }
    if !left.is_empty() {
        tracing::error!(count = left.len(), "the keeper of child processes died: they are killed");
    }
    _ = keeper.wait().await;
}

fn hear(report: Report, known: &Mutex<Known>) {
    let mut known = lock(known);
    match report {
        Report::Started { id, pid } => {
            if let Some(child) = known.get_mut(&id) {
                child.group = Pid::from_raw(pid);
                tracing::info!(target = %child.target, pid, "process started");
            }
        }
        Report::Failed { id, reason } => {
            if let Some(child) = known.remove(&id) {
                tracing::error!(target = %child.target, reason, "can't start the process");
            }
        }
        Report::Ended { id, status, unasked } => match known.remove(&id) {
            Some(child) if unasked => {
                tracing::warn!(target = %child.target, status, "process ended by itself");
            }
            Some(child) => tracing::info!(target = %child.target, status, "process ended"),
            None => {}
        },
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs what a child writes to its standard error, line by line.
async fn log(target: TargetName, stderr: PipeReader) {
    let Ok(stderr) = pipe::Receiver::from_owned_fd(stderr.into()) else { return };
    let mut lines = Lines::new(|line: &str| tracing::info!(%target, line, "stderr"));
    let mut block = [0; 4096];
    loop {
        if stderr.readable().await.is_err() {
            return;
        }
        match stderr.try_read(&mut block) {
            Ok(0) => return lines.end(),
            Ok(count) => lines.push(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
