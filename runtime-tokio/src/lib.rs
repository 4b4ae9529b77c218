//! The standard frontend: one current-thread tokio runtime per shard. What the tasks on it do is told in [`runtime`].

mod net;

use net::Tokio;
use runtime::{Pump, Worker};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

/// How long accepting rests when the operating system has no socket to give.
const REST: Duration = Duration::from_millis(100);

/// Starts the worker's thread and returns once it serves. The thread ends when its shard is drained, or when its
/// mailbox is closed.
///
/// # Errors
/// When the thread or its runtime can't be set up.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    worker.start(|worker, serves| {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_io().enable_time().build_local(LocalOptions::default())?;
        runtime.block_on(serve(worker, serves))
    })
}

async fn serve(worker: Worker, serves: &SyncSender<io::Result<()>>) -> io::Result<()> {
    let Worker { start, entropy, listener, console, mail, peers, children, records } = worker;
    let listener = listener.map(TcpListener::from_std).transpose()?;
    let pump = Pump::new(start, entropy, peers, children, records);
    let accepting = listener.map(|listener| spawn_local(accept(Rc::clone(&pump), listener)));
    spawn_local(runtime::keep_time(Rc::clone(&pump)));
    if let Some(console) = console {
        pump.attached(console, Instant::now())?;
    }
    drop(serves.send(Ok(())));
    // Ends the task, and with it the listener.
    runtime::serve(pump, mail, || {
        if let Some(accepting) = accepting {
            accepting.abort();
        }
    })
    .await;
    Ok(())
}

async fn accept(pump: Rc<Pump<Tokio>>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => pump.accepted(stream, address, Instant::now()),
            // The client was gone before we came: its loss alone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(shard = pump.id(), %error, "can't accept connections, resting");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
