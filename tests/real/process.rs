//! A server that runs as long as its value lives.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Generous: two cores may be busy with ten other servers, and with other things besides.
const START: Duration = Duration::from_secs(120);

pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`. What it has to say on stderr goes to a file named after `name`.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let errors = File::create(&log).expect("the folder for test output is writable");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?} can't be started: {error}")), log }
    }

    /// Waits until `ready` holds. The process may leave instead: then its output is the error.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Err(format!("{status}: {}", self.output()));
            }
            assert!(Instant::now() < deadline, "not ready within {START:?}: {}", self.output());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- {} ---\n{}", self.log.display(), self.output());
        }
    }
}

/// Waits until `ready` holds.
pub(crate) fn wait_until(ready: impl Fn() -> bool) {
    until("what is waited for", || ready().then_some(()));
}

/// Waits until `find` finds something.
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + START;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {START:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port for a program that can't be told to take any. It is none of those that the kernel gives away (it begins with
/// 32768, see ip(7)), so that nobody else gets it before the program does, and it is given once.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Where a run of the tests begins to look; another at the same time begins elsewhere.
    let own = std::process::id().wrapping_mul(101);
    let next = |_| FIRST + (own.wrapping_add(GIVEN.fetch_add(1, Relaxed)) % COUNT) as u16;
    let free = (0..COUNT).map(next).find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok());
    free.expect("a port is free")
}

/// A loopback address that no other test uses, nor another run of the tests.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, COUNT.fetch_add(1, Relaxed), high, low.max(1))
}

/// Whether all these ports of an address can be listened on: somebody may have one of them on every address.
pub(crate) fn are_free(ip: Ipv4Addr, ports: &[u16]) -> bool {
    ports.iter().all(|port| TcpListener::bind((ip, *port)).is_ok())
}

pub(crate) fn listens(port: u16) -> bool {
    listens_at((Ipv4Addr::LOCALHOST, port).into())
}

pub(crate) fn listens_at(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}
