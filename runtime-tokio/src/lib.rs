//! The standard frontend: one current-thread tokio runtime per shard.
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

mod fault;
mod panics;
mod peer;
mod pump;
mod wake;

use mcp_proto::{Mail, Record, Start};
use pump::Pump;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};

/// How long accepting rests when the operating system has no socket to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);
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
/// When the thread or its runtime can't be set up.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    panics::log_those_of_workers();
    let (ready, outcome) = sync_channel(1);
    let thread =
        std::thread::Builder::new().name(format!("shard-{}", worker.start.id.0)).spawn(move || {
            panics::this_is_a_worker();
            match Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime.block_on(serve(worker, ready)),
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the worker's thread died at its start")))?;
    Ok(thread)
}

/// The main task: sets the others going, then reads mail until there is nothing left to serve.
async fn serve(worker: Worker, ready: SyncSender<io::Result<()>>) {
    let Worker { start, entropy, listener, mail, peers, records } = worker;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let pump = Pump::new(start, entropy, peers, records);
    let accepting = spawn_local(accept(Rc::clone(&pump), listener));
    spawn_local(keep_time(Rc::clone(&pump)));
    drop(ready.send(Ok(())));

    let mut turn = 0;
    while let Some(letter) = next(&mail, &pump).await {
        if matches!(letter, Mail::Drain(_)) {
            // Ends the task, and with it the listener.
            accepting.abort();
        }
        pump.mail(letter, Instant::now());
        turn += 1;
        if turn % MAIL_TURN == 0 {
            yield_now().await;
        }
    }
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

async fn accept(pump: Rc<Pump>, listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => pump.accepted(stream, address, Instant::now()),
            // The client was gone before we came: its loss alone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(shard = pump.id(), %error, "can't accept connections, resting");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// The shard's one timer.
async fn keep_time(pump: Rc<Pump>) {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let at = ready!(pump.poll_armed(cx)).into();
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(cx));
            pump.time_passed(Instant::now());
        }
    })
    .await
}
