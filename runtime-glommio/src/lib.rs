//! The high-throughput frontend: one glommio executor per shard.
//!
//! ```text
//!   listener ──► accept task ──┐                        ┌──► sockets, written by whoever runs
//!   sockets ───► peer tasks ───┤  turn: tell the Shard  │
//!   clock ─────► timer task ───┼──► what happened, then ┼──► new peer tasks, dialling
//!   mailbox ───► main task ────┘  do what it asks for   ├──► mailboxes of other workers
//!                                                       └──► access-log records
//! ```
//!
//! All tasks of a worker share one `pump::Pump`. It moves bytes and time and knows nothing of what they mean.
//! How the rings are set up is told in `liburing/README.md`.

mod fault;
mod listener;
mod panics;
mod peer;
mod probe;
mod pump;
mod wake;

pub use probe::probe;

use glommio::spawn_local;
use glommio::timer::Timer;
use mcp_proto::{Mail, Record, Start};
use pump::Pump;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
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
    /// Where clients connect: non-blocking, one per worker, all bound to one address with SO_REUSEPORT.
    pub listener: TcpListener,
    /// Mail for this worker.
    pub mail: async_channel::Receiver<Mail>,
    /// The mailboxes of all workers, by shard number.
    pub peers: Arc<[async_channel::Sender<Mail>]>,
    /// Where access-log records go; full means dropped and counted.
    pub records: SyncSender<Box<Record>>,
}

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained, or when its
/// mailbox is closed.
///
/// # Errors
/// When the thread or its executor can't be set up; [`probe`] tells why.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    panics::install();
    let (ready, outcome) = sync_channel(1);
    let thread =
        std::thread::Builder::new().name(format!("shard-{}", worker.start.id.0)).spawn(move || {
            let executor = probe::executor();
            panics::this_is_a_worker();
            let outcome = match executor {
                Ok(executor) => return executor.run(serve(worker, ready)),
                Err(reason) => ready.send(Err(io::Error::other(reason))),
            };
            // Whoever started us waits for it.
            drop(outcome);
        })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the worker's thread died at its start")))?;
    Ok(thread)
}

/// The main task: sets the others going, then reads mail until there is nothing left to serve.
async fn serve(worker: Worker, ready: SyncSender<io::Result<()>>) {
    let Worker { start, entropy, listener, mail, peers, records } = worker;
    let pump = Pump::new(start, entropy, peers, records);
    let mut accepting = Some(spawn_local(listener::accept(Rc::clone(&pump), listener)));
    let keeping_time = spawn_local(keep_time(Rc::clone(&pump)));
    drop(ready.send(Ok(())));

    let mut turn = 0;
    while let Some(letter) = next(&mail, &pump).await {
        if matches!(letter, Mail::Drain(_)) {
            // Ends the task, and with it the listener.
            accepting = None;
        }
        pump.mail(letter, Instant::now());
        turn += 1;
        if turn % MAIL_TURN == 0 {
            glommio::executor().yield_now().await;
        }
    }
    drop((accepting, keeping_time));
    pump.close_all();
}

/// The next letter; `None` when the shard is drained or nobody can write any more.
async fn next(mail: &async_channel::Receiver<Mail>, pump: &Pump) -> Option<Mail> {
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
async fn keep_time(pump: Rc<Pump>) {
    let mut set: Option<(Instant, Timer)> = None;
    poll_fn(|cx| {
        loop {
            let at = ready!(pump.poll_armed(cx));
            let (_, timer) = match set.take_if(|(set, _)| *set == at) {
                Some(same) => set.insert(same),
                None => set.insert((at, Timer::new(at.saturating_duration_since(Instant::now())))),
            };
            ready!(Pin::new(timer).poll(cx));
            set = None;
            pump.time_passed(Instant::now());
        }
    })
    .await
}
