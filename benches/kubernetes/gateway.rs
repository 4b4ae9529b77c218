//! The gateway's process: how it is started, and what its admin endpoint says.

use crate::load::Plain;
use crate::process::Process;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long it may take until it is ready, or until a change is in force.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(2);

/// `mcp-gateway kubernetes`, with one worker.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    admin: SocketAddr,
    log: PathBuf,
    started: Instant,
    /// Kept, so that a look costs the gateway no connection.
    connection: RefCell<Option<Plain>>,
}

/// What its start was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    /// From its start until `/readyz` says so.
    pub(crate) ready: Duration,
    /// The most memory seen meanwhile, in kB.
    pub(crate) peak: u64,
}

impl Gateway {
    /// Starts `program` on a runtime, to follow the cluster of `kubeconfig`, with its log in `folder`.
    pub(crate) fn start(
        program: &Path,
        runtime: &str,
        kubeconfig: &str,
        folder: &Path,
        write_status: bool,
    ) -> io::Result<Self> {
        let admin = free_address()?;
        let file = folder.join(format!("kubeconfig-{}", admin.port()));
        std::fs::write(&file, kubeconfig)?;
        let mut command = vec![program.display().to_string(), "kubernetes".to_owned()];
        for (flag, value) in [
            ("--kubeconfig", file.display().to_string()),
            ("--bind", "127.0.0.1".to_owned()),
            ("--admin", admin.to_string()),
            ("--runtime", runtime.to_owned()),
            ("--workers", "1".to_owned()),
        ] {
            command.extend([flag.to_owned(), value]);
        }
        if !write_status {
            command.push("--no-status".to_owned());
        } else {
            // The one before it was killed, and its Lease stays for a while.
            command.extend(["--lease-name".to_owned(), format!("bench-{}", admin.port())]);
        }
        let started = Instant::now();
        let log = folder.join(format!("gateway-{}.log", admin.port()));
        let process = Process::start(&command, &log)?;
        Ok(Self { process, admin, log, started, connection: RefCell::new(None) })
    }

    /// Waits until it serves.
    pub(crate) fn begin(&self) -> io::Result<Began> {
        let mut peak = 0;
        loop {
            peak = peak.max(self.process.resident());
            // It does not listen from the first moment on.
            if self.admin("/readyz").is_ok_and(|(status, _)| status == 200) {
                return Ok(Began { ready: self.started.elapsed(), peak });
            }
            if self.started.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(io::Error::other(format!("the gateway does not get ready\n{log}")));
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until so many endpoints are in force. How long it took.
    pub(crate) fn has_endpoints(&self, count: usize) -> io::Result<Duration> {
        let since = Instant::now();
        while self.metric("mcp_gateway_endpoints")? as usize != count {
            if since.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{count} endpoints are not in force")));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(since.elapsed())
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> io::Result<f64> {
        let (_, text) = self.admin("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| io::Error::other(format!("there is no metric {name}")))
    }

    fn admin(&self, path: &str) -> io::Result<(u16, String)> {
        let mut slot = self.connection.borrow_mut();
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => Plain::connect(self.admin, path)?,
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.admin);
        let answer = connection.exchange(request.as_bytes())?;
        let answer = (answer.head.status, String::from_utf8_lossy(&answer.body).into_owned());
        *slot = Some(connection);
        Ok(answer)
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()
}
