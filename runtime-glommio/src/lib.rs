//! The high-throughput frontend: one glommio executor per shard. What the tasks on it do is told in [`runtime`]; how
//! the rings are set up, in `liburing/README.md`.

mod listener;
mod net;
mod probe;

pub use probe::probe;

use glommio::spawn_local;
use runtime::{Pump, Worker};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Instant;

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained, or when its
/// mailbox is closed.
///
/// # Errors
/// When the thread or its executor can't be set up; [`probe`] tells why.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    worker.start(|worker, serves| {
        let executor = probe::executor().map_err(io::Error::other)?;
        executor.run(serve(worker, serves))
    })
}

async fn serve(worker: Worker, serves: &SyncSender<io::Result<()>>) -> io::Result<()> {
    let Worker { start, entropy, listener, console, mail, peers, children, records } = worker;
    let pump = Pump::new(start, entropy, peers, children, records);
    // Tasks end when their handles are dropped, and with the one that accepts the listener.
    let accepting = listener.map(|listener| spawn_local(listener::accept(Rc::clone(&pump), listener)));
    let _keeping_time = spawn_local(runtime::keep_time(Rc::clone(&pump)));
    if let Some(console) = console {
        pump.attached(console, Instant::now())?;
    }
    drop(serves.send(Ok(())));
    runtime::serve(pump, mail, || drop(accepting)).await;
    Ok(())
}
