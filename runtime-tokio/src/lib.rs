//! The standard frontend: one current-thread tokio runtime per shard.

use mcp_proto::{Mail, Record, Start};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

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

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained.
///
/// # Errors
/// When the thread or its runtime can't be set up.
pub fn spawn(_worker: Worker) -> io::Result<JoinHandle<()>> {
    Err(io::ErrorKind::Unsupported.into())
}
