//! Child processes as a worker sees them: it has the connection, somebody else the process.

use routing::{Process, TargetName};
use std::fmt::Debug;
use std::io::PipeReader;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Starts child processes and sees to their end, off the workers' threads.
pub trait Spawn: Debug + Send + Sync {
    /// Takes over `child`. Never waits and never fails: the connection to a child that can't be started is closed, which
    /// the worker notices as the end of its output.
    fn spawn(&self, child: Child);
}

/// A child to be started.
#[derive(Debug)]
pub struct Child {
    /// Whose process it is.
    pub target: TargetName,
    /// What to start.
    pub process: Arc<Process>,
    /// Its standard input. In blocking mode, and close-on-exec like the others.
    pub stdin: UnixStream,
    /// Its standard output, likewise.
    pub stdout: UnixStream,
    /// Comes to its end when the connection is closed, in whatever way: the process and all it has started must end
    /// then. Nothing is ever written to it.
    pub released: PipeReader,
}
