//! A worker: its thread, and the tasks that are no connection's.

use crate::net::Net;
use crate::panics;
use crate::pump::Pump;
use crate::spawn::Spawn;
use mcp_proto::{Mail, Observation, Record, ShardId, Start};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Poll, ready};
use std::thread::JoinHandle;
use std::time::Instant;

/// How much mail is read before the sockets get their turn.
const MAIL_TURN: usize = 64;

/// What one worker thread serves with.
#[derive(Debug)]
pub struct Worker {
    /// What its shard is made from.
    pub start: Start,
    /// Fresh entropy, for the shard that replaces one that panicked.
    pub entropy: fn() -> [u8; 32],
    /// The connection of the one client that talks to the process itself, over its standard input and output.
    pub console: Option<UnixStream>,
    /// Mail for this worker.
    pub mail: async_channel::Receiver<Letter>,
    /// The mailboxes of all workers, by shard number. Unbounded: who posts looks how full they are, and what must arrive
    /// is bounded by the shards.
    pub peers: Arc<[async_channel::Sender<Letter>]>,
    /// Who starts child processes.
    pub children: Arc<dyn Spawn>,
    /// Where access-log records go; full means dropped and counted.
    pub records: SyncSender<Box<Record>>,
    /// Where what shards find out of targets goes; full means dropped and counted.
    pub observations: async_channel::Sender<(ShardId, Box<Observation>)>,
}

/// What the outside sends to a worker.
#[derive(Debug)]
pub enum Letter {
    /// For its shard.
    Shard(Mail),
    /// Clients connect here from now on, besides where they did before.
    Listen {
        /// The address that routes know.
        at: SocketAddr,
        /// A socket bound to it: non-blocking, and with SO_REUSEPORT, since every worker has one of its own.
        listener: TcpListener,
    },
    /// Nobody connects here any more: the socket is closed, connections end with what is under way on them.
    Unlisten {
        /// The address.
        at: SocketAddr,
    },
}

impl Worker {
    /// Has a thread of its own `run` the worker, and returns once that says it serves.
    ///
    /// # Errors
    /// Those of `run` before, and when there is no thread for it.
    pub fn start(
        self,
        run: impl FnOnce(Self, &SyncSender<io::Result<()>>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        panics::install();
        let (serves, outcome) = sync_channel(1);
        let name = format!("shard-{}", self.start.id.0);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            panics::this_is_a_worker();
            if let Err(error) = run(self, &serves) {
                drop(serves.send(Err(error)));
            }
        })?;
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the worker's thread died at its start")))?;
        Ok(thread)
    }
}

/// Serves until the shard is drained, or nobody can write to the worker any more. Says on `serves` when it begins.
///
/// # Errors
/// When the runtime can't wait for the console's socket.
pub async fn serve<N: Net>(mut worker: Worker, serves: &SyncSender<io::Result<()>>) -> io::Result<()> {
    let console = worker.console.take();
    let pump = Pump::<N>::new(worker);
    let keeping_time = N::run(keep_time(Rc::clone(&pump)));
    if let Some(console) = console {
        pump.attached(console, Instant::now())?;
    }
    drop(serves.send(Ok(())));
    read_mail(&pump).await;
    drop(keeping_time);
    pump.shut();
    Ok(())
}

/// The main task: takes letters when no connection has to do with them first.
async fn read_mail<N: Net>(pump: &Rc<Pump<N>>) {
    let mut turn = 0;
    while let Some(letter) = next(pump).await {
        pump.open(letter, Instant::now());
        turn += 1;
        if turn % MAIL_TURN == 0 {
            N::yield_now().await;
        }
    }
}

/// The next letter; `None` when the shard is drained or nobody can write any more.
async fn next<N: Net>(pump: &Pump<N>) -> Option<Letter> {
    let mut letter = pin!(pump.mail.recv());
    poll_fn(|cx| {
        if pump.poll_done(cx).is_ready() {
            Poll::Ready(None)
        } else {
            letter.as_mut().poll(cx).map(Result::ok)
        }
    })
    .await
}

/// The shard's one timer.
async fn keep_time<N: Net>(pump: Rc<Pump<N>>) {
    let mut set = None;
    let mut timer = pin!(None);
    poll_fn(|cx| {
        loop {
            let at = ready!(pump.poll_armed(cx));
            if set != Some(at) {
                set = Some(at);
                timer.set(Some(N::sleep_until(at)));
            }
            if let Some(timer) = timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
            set = None;
            pump.time_passed(Instant::now());
        }
    })
    .await
}
