//! The standard frontend: one current-thread tokio runtime per shard. What the tasks on it do is told in [`runtime`].

mod net;

use net::Tokio;
use runtime::Worker;
use std::io;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, LocalOptions};

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained, or when its
/// mailbox is closed.
///
/// # Errors
/// When the thread or its runtime can't be set up.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    worker.start(|worker, serves| {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_io().enable_time().build_local(LocalOptions::default())?;
        runtime.block_on(runtime::serve::<Tokio>(worker, serves))
    })
}
