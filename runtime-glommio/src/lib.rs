//! The high-throughput frontend: one glommio executor per shard. What the tasks on it do is told in [`runtime`]; how
//! the rings are set up, in `liburing/README.md`.

mod listener;
mod net;
mod probe;

pub use probe::probe;

use net::Glommio;
use runtime::Worker;
use std::io;
use std::thread::JoinHandle;

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained, or when its
/// mailbox is closed.
///
/// # Errors
/// When the thread or its executor can't be set up; [`probe`] tells why.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    worker.start(|worker, serves| {
        let executor = probe::executor().map_err(io::Error::other)?;
        executor.run(runtime::serve::<Glommio>(worker, serves))
    })
}
