//! The keeper: a small process of its own that is the parent of all child processes, so that they end when the gateway
//! does, however that ends, SIGKILL included.
//!
//! A child leads a process group. It is *released* when the gateway has closed its connection; a gateway that is gone has
//! released all of its children. Then, as well as when it exits by itself:
//!
//! ```text
//! end of its input ─► 2 s ─► SIGTERM to the group ─► 2 s ─► SIGKILL to the group ─► the group is gone, all reaped
//! ```
//!
//! The keeper is the subreaper of what its children leave behind, so a group vanishes only when its last member was
//! reaped here: its number can't have become that of a stranger when it gets a signal.

use super::order::{self, Ends, Order, Report};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, setsid,
    test_kill_process_group, wait,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedWriteHalf, pipe};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, timeout};

/// How long a child has to end by itself, and then once more after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait for a group that got SIGKILL: a process in the middle of a system call may outlast it.
const LAST: Duration = Duration::from_secs(1);
/// A member of a group may be reaped by somebody else: how often to look.
const LOOK: Duration = Duration::from_millis(20);
/// Reports that may wait for the gateway.
const REPORTS: usize = 64;

/// How the gateway starts its keeper: the same program, even if the file has been replaced meanwhile.
pub(crate) fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("mcp-gateway").arg("keeper");
    command
}

/// What `mcp-gateway keeper` does: standard input is the socket to the gateway.
pub(crate) fn run() -> ExitCode {
    let kept = own_session().and_then(|()| {
        let control = io::stdin().as_fd().try_clone_to_owned()?;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(keep(control.into()))
    });
    if kept.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Out of reach of the terminal and of signals to the gateway's process group.
fn own_session() -> io::Result<()> {
    setsid()?;
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Starts what is ordered; returns when the gateway is gone and nothing of its children is left.
async fn keep(control: UnixStream) -> io::Result<()> {
    // A stop of all processes at once is the gateway's affair: it ends, then the keeper.
    let _ignored: [Signals; 3] =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let reaper = Rc::<Reaper>::default();
    spawn_local(Rc::clone(&reaper).reap(signal(SignalKind::child())?));
    control.set_nonblocking(true)?;
    let (mut orders, gateway) = tokio::net::UnixStream::from_std(control)?.into_split();
    let (reports, waiting) = mpsc::channel(REPORTS);
    let reporting = spawn_local(report(gateway, waiting));
    let mut children = JoinSet::new();
    // A gateway that talks nonsense is as good as gone.
    while let Ok(Some((order, ends))) = order::receive(&mut orders).await {
        children.spawn_local(attend(order, ends, Rc::clone(&reaper), reports.clone()));
        while children.try_join_next().is_some() {}
    }
    while children.join_next().await.is_some() {}
    drop(reports);
    reporting.await.map_err(io::Error::other)
}

async fn report(mut to: OwnedWriteHalf, mut reports: mpsc::Receiver<Report>) {
    while let Some(report) = reports.recv().await {
        if let Ok(mut line) = serde_json::to_vec(&report) {
            line.push(b'\n');
            // Nobody to tell any more is no reason to stop.
            _ = to.write_all(&line).await;
        }
    }
}

/// A child from its start to the end of its group.
async fn attend(order: Order, ends: Ends, reaper: Rc<Reaper>, reports: mpsc::Sender<Report>) {
    let id = order.id;
    // The receiver is there as long as a sender is.
    let tell = async |report| _ = reports.send(report).await;
    let (group, released) = match start(order, ends).map(|(pid, released)| (reaper.expect(pid), released)) {
        Ok(started) => started,
        Err(error) => return tell(Report::Failed { id, reason: error.to_string() }).await,
    };
    tell(Report::Started { id, pid: group.as_raw_pid() }).await;
    let unasked = tokio::select! {
        () = reaper.exit(group) => true,
        () = end_of(released) => false,
    };
    reaper.end(group, unasked).await;
    let status = match reaper.take(group) {
        Some(status) => describe(status),
        None => "still there".to_owned(),
    };
    tell(Report::Ended { id, status, unasked }).await;
}

fn start(order: Order, ends: Ends) -> io::Result<(Pid, pipe::Receiver)> {
    let Ends { stdin, stdout, stderr, released } = ends;
    let released = pipe::Receiver::from_owned_fd(released)?;
    let mut command = Command::new(&order.command);
    command.args(order.args).env_clear().envs(order.env).process_group(0);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if let Some(folder) = order.cwd {
        command.current_dir(folder);
    }
    // Our copies of its ends go with the command: the gateway must see when the child closes them.
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::other(format!("{:?} is not found, or the folder it starts in is not", order.command))
        }
        _ => error,
    })?;
    Ok((Pid::from_child(&child), released))
}

/// Nothing is ever written, so whatever there is to read is the end.
async fn end_of(released: pipe::Receiver) {
    _ = released.readable().await;
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// Waits for everything that dies.
#[derive(Default)]
struct Reaper {
    /// The leaders of groups, and how they ended.
    leaders: RefCell<BTreeMap<i32, Option<WaitStatus>>>,
    died: Notify,
}

impl Reaper {
    async fn reap(self: Rc<Self>, mut deaths: Signals) {
        while deaths.recv().await.is_some() {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if let Some(leader) = self.leaders.borrow_mut().get_mut(&pid.as_raw_pid()) {
                    *leader = Some(status);
                }
            }
            self.died.notify_waiters();
        }
    }

    /// To be called before anything else runs that could reap it.
    fn expect(&self, leader: Pid) -> Pid {
        self.leaders.borrow_mut().insert(leader.as_raw_pid(), None);
        leader
    }

    async fn exit(&self, leader: Pid) {
        loop {
            let died = self.died.notified();
            if self.leaders.borrow().get(&leader.as_raw_pid()).is_none_or(Option::is_some) {
                return;
            }
            died.await;
        }
    }

    fn take(&self, leader: Pid) -> Option<WaitStatus> {
        self.leaders.borrow_mut().remove(&leader.as_raw_pid()).flatten()
    }

    /// Ends `group`. What a leader that `exited` leaves behind gets no time of its own.
    async fn end(&self, group: Pid, exited: bool) {
        if self.is_gone_within(group, if exited { Duration::ZERO } else { GRACE }).await {
            return;
        }
        for (signal, grace) in [(Signal::TERM, GRACE), (Signal::KILL, LAST)] {
            // Gone in this moment.
            _ = kill_process_group(group, signal);
            if self.is_gone_within(group, grace).await {
                return;
            }
        }
    }

    async fn is_gone_within(&self, group: Pid, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            // The dead who are not reaped yet count as well.
            if test_kill_process_group(group) == Err(Errno::SRCH) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            _ = timeout(LOOK, self.died.notified()).await;
        }
    }
}
