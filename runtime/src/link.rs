//! The sockets beneath one connection: one for both ways, or, to a child process, one for each.

use crate::blocks::Blocks;
use crate::net::Net;
use crate::spawn::{Child, Spawn};
use bytes::BytesMut;
use routing::{Process, TargetName};
use std::io::{self, IoSlice, PipeWriter};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An open connection. It is closed when dropped.
pub(crate) struct Link<N: Net> {
    reads: N::Stream,
    /// What it has besides if it leads to a child.
    child: Option<Box<ToChild<N>>>,
}

struct ToChild<N: Net> {
    writes: N::Stream,
    /// Closed with the connection: the sign for whoever keeps the child.
    leash: Option<PipeWriter>,
}

impl<N: Net> Link<N> {
    /// One socket for both ways.
    pub(crate) fn new(stream: N::Stream) -> Self {
        Self { reads: stream, child: None }
    }

    /// A connection to a new child. A socket each for its standard input and output, as Node makes them: programs that
    /// set one to non-blocking mode, or take readable output for a closed one (Python's asyncio), would stumble over
    /// a shared one.
    pub(crate) fn to_child(
        children: &dyn Spawn,
        target: TargetName,
        process: Arc<Process>,
    ) -> io::Result<Self> {
        let (writes, stdin) = UnixStream::pair()?;
        let (reads, stdout) = UnixStream::pair()?;
        let (released, leash) = io::pipe()?;
        let (reads, writes) = (N::adopt(reads)?, N::adopt(writes)?);
        children.spawn(Child { target, process, stdin, stdout, released });
        Ok(Self { reads, child: Some(Box::new(ToChild { writes, leash: Some(leash) })) })
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        blocks: &mut Blocks,
    ) -> Poll<io::Result<BytesMut>> {
        N::poll_read(&mut self.reads, cx, blocks)
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        N::poll_write(self.writes(), cx, slices)
    }

    /// Closes the writing side. A child is expected to end from now on.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        if let Some(child) = &mut self.child {
            drop(child.leash.take());
        }
        N::shutdown(self.writes())
    }

    fn writes(&mut self) -> &mut N::Stream {
        self.child.as_mut().map_or(&mut self.reads, |child| &mut child.writes)
    }
}
