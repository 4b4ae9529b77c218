//! A worker: its thread, and the tasks that are no connection's.

use crate::net::Net;
use crate::panics;
use crate::pump::Pump;
use crate::spawn::Spawn;
use mcp_proto::{Mail, Record, Start};
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
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
    /// Where clients connect, if anywhere: non-blocking, one per worker, all bound to one address with SO_REUSEPORT.
    pub listener: Option<TcpListener>,
    /// The connection of the one client that talks to the process itself, over its standard input and output.
    pub console: Option<UnixStream>,
    /// Mail for this worker.
    pub mail: async_channel::Receiver<Mail>,
    /// The mailboxes of all workers, by shard number. Unbounded: who posts looks how full they are, and what must arrive
    /// is bounded by the shards.
    pub peers: Arc<[async_channel::Sender<Mail>]>,
    /// Who starts child processes.
    pub children: Arc<dyn Spawn>,
    /// Where access-log records go; full means dropped and counted.
    pub records: SyncSender<Box<Record>>,
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

/// The main task: reads mail until there is nothing left to serve. `close_listener` is called when the shard drains.
pub async fn serve<N: Net>(
    pump: Rc<Pump<N>>,
    mail: async_channel::Receiver<Mail>,
    close_listener: impl FnOnce(),
) {
    let mut close_listener = Some(close_listener);
    let mut turn = 0;
    while let Some(letter) = next(&mail, &pump).await {
        if matches!(letter, Mail::Drain(_))
            && let Some(close) = close_listener.take()
        {
            close();
        }
        pump.mail(letter, Instant::now());
        turn += 1;
        if turn % MAIL_TURN == 0 {
            N::yield_now().await;
        }
    }
    // Not every runtime drops its tasks when it ends.
    pump.close_all();
}

/// The next letter; `None` when the shard is drained or nobody can write any more.
async fn next<N: Net>(mail: &async_channel::Receiver<Mail>, pump: &Pump<N>) -> Option<Mail> {
    let mut letter = pin!(mail.recv());
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
pub async fn keep_time<N: Net>(pump: Rc<Pump<N>>) {
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
