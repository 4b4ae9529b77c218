//! This process' standard input and output as the connection of a client, for `mcp-gateway stdio`.
//!
//! ```text
//! standard input ──► thread ──►┐                 ┌──► worker 0
//!                              UNIX socket pair ─┤
//! standard output ◄─ thread ◄──┘                 └──◄ worker 0
//! ```
//!
//! Whatever they are, pipes, files, a terminal, two threads can copy them, and to the worker it is a socket like any other.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// What is copied at once, in bytes.
const BLOCK: usize = 64 << 10;
/// How long the client has to take the last bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The threads that copy.
#[derive(Debug)]
pub(crate) struct Console {
    output: JoinHandle<()>,
}

impl Console {
    /// Begins to copy. Gives the worker's end of the socket, and a channel that says when there will be no more input,
    /// or when nobody takes the output.
    ///
    /// # Errors
    /// When the process has no standard input or output, or the operating system no thread.
    pub(crate) fn open() -> io::Result<(Self, UnixStream, mpsc::Receiver<()>)> {
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (ours, workers) = UnixStream::pair()?;
        let ours = Arc::new(ours);
        let (over, ended) = mpsc::channel(1);
        // How a copy ends makes no difference, and one word that it did is enough.
        let end = |over: &mpsc::Sender<()>| _ = over.try_send(());
        Builder::new().name("stdin".to_owned()).spawn({
            let (ours, over) = (Arc::clone(&ours), over.clone());
            move || {
                _ = copy(&mut input, &mut &*ours);
                _ = ours.shutdown(Shutdown::Write);
                end(&over);
            }
        })?;
        let output = Builder::new().name("stdout".to_owned()).spawn(move || {
            _ = copy(&mut &*ours, &mut output);
            end(&over);
        })?;
        Ok((Self { output }, workers, ended))
    }

    /// To be called when the worker has closed its end: returns when everything is written.
    pub(crate) async fn flushed(self) {
        let end = Instant::now() + PATIENCE;
        while !self.output.is_finished() && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Until the end. `io::copy` would splice, and bytes spliced into a UNIX socket don't always wake who waits for it.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(block.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
