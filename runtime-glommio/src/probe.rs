//! Whether glommio can run here, and if not, why.

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use runtime::quietly;
use std::fmt::Write;
use std::fs::read_to_string;

/// glommio compares the limit on locked memory with this before anything else, even for root.
const MEMLOCK_BYTES: u64 = 512 << 10;
/// Older kernels lack operations glommio needs; it then ends the process, so it must not be tried.
const OLDEST_KERNEL: (u32, u32) = (5, 8);
/// Entries of each ring. The sockets of a shard share them, and ring memory counts as locked memory.
const RING_DEPTH: usize = 256;

/// Whether glommio can run here.
///
/// # Errors
/// The cause and what to do about it, for a person.
pub fn probe() -> Result<(), String> {
    // On a thread of its own: an executor marks the thread it was made on.
    let attempt = std::thread::Builder::new().name("glommio-probe".into()).spawn(|| executor().map(drop));
    let outcome = match attempt.map(std::thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("its thread died".to_owned()),
        Err(error) => Err(format!("no thread for it: {error}")),
    };
    outcome.map_err(|reason| Surroundings::read().explain(&reason))
}

/// An executor for the running thread.
pub(crate) fn executor() -> Result<LocalExecutor, String> {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        return Err(format!("Linux {} is older than {major}.{minor}", release.trim()));
    }
    quietly(|| {
        LocalExecutorBuilder::new(Placement::Unbound)
            // Only files need registered memory.
            .io_memory(0)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(|error| match error.to_string() {
                text if text.contains("MemLockLimit") => "it may lock too little memory".to_owned(),
                text => text,
            })
    })
    // It panics when its first calls are refused, and then blames an old kernel.
    .unwrap_or_else(|| Err("the kernel refuses to set up io_uring".to_owned()))
}

/// Major and minor version of a kernel release like `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What usually keeps io_uring from working.
#[derive(Debug, Default)]
struct Surroundings {
    /// The soft limit on locked memory in bytes; none when unlimited or unknown.
    memlock: Option<u64>,
    /// `kernel.io_uring_disabled`: 1 for unprivileged processes, 2 for all.
    disabled: u32,
    /// Whether a seccomp filter is on this process.
    filtered: bool,
}

impl Surroundings {
    fn read() -> Self {
        let file = |path| read_to_string(path).unwrap_or_default();
        let limits = file("/proc/self/limits");
        let status = file("/proc/self/status");
        Self {
            memlock: field(&limits, "Max locked memory").and_then(|text| text.parse().ok()),
            disabled: file("/proc/sys/kernel/io_uring_disabled").trim().parse().unwrap_or_default(),
            filtered: field(&status, "Seccomp:") == Some("2"),
        }
    }

    /// `reason` says what failed; the surroundings say why.
    fn explain(&self, reason: &str) -> String {
        let mut text = format!("{}.", reason.trim().trim_end_matches('.'));
        // Writing to a string never fails.
        if let Some(memlock) = self.memlock.filter(|&limit| limit < MEMLOCK_BYTES) {
            let _ = write!(
                text,
                " The limit on locked memory is {} KiB and 512 KiB are needed: raise it (`ulimit -l 512`, \
                 LimitMEMLOCK=512K in a systemd unit, `--ulimit memlock=524288` for a container).",
                memlock >> 10
            );
        } else if self.disabled > 0 {
            let _ = write!(
                text,
                " The kernel refuses io_uring: kernel.io_uring_disabled is {}, `sysctl kernel.io_uring_disabled=0` \
                 allows it.",
                self.disabled
            );
        } else if self.filtered {
            text.push_str(
                " A seccomp filter is on this process, as in most containers, and probably refuses io_uring: allow \
                 io_uring_setup, io_uring_enter and io_uring_register in its profile (`--security-opt \
                 seccomp=PROFILE.json`).",
            );
        }
        text.push_str(" `--runtime tokio` works without.");
        text
    }
}

/// The first word after `name` on its line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases() {
        assert_eq!(version("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(version("5.15.153.1-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("5.8"), Some((5, 8)));
        assert_eq!(version("4.19.0"), Some((4, 19)));
        assert_eq!(version(""), None);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn the_surroundings_explain_a_refusal() {
        let explain =
            |memlock, disabled, filtered| Surroundings { memlock, disabled, filtered }.explain("too bad.\n");
        assert_eq!(explain(None, 0, false), "too bad. `--runtime tokio` works without.");
        assert_eq!(
            explain(Some(64 << 10), 2, true),
            "too bad. The limit on locked memory is 64 KiB and 512 KiB are needed: raise it \
             (`ulimit -l 512`, LimitMEMLOCK=512K in a systemd unit, `--ulimit memlock=524288` for a container). \
             `--runtime tokio` works without."
        );
        assert_eq!(
            explain(Some(512 << 10), 2, true),
            "too bad. The kernel refuses io_uring: kernel.io_uring_disabled is 2, `sysctl \
             kernel.io_uring_disabled=0` allows it. `--runtime tokio` works without."
        );
        assert_eq!(
            explain(None, 0, true),
            "too bad. A seccomp filter is on this process, as in most containers, and probably \
             refuses io_uring: allow io_uring_setup, io_uring_enter and io_uring_register in its profile \
             (`--security-opt seccomp=PROFILE.json`). `--runtime tokio` works without."
        );
    }

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         65536                unlimited            bytes     \n";
        assert_eq!(field(limits, "Max locked memory"), Some("65536"));
        assert_eq!(field("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n", "Seccomp:"), Some("2"));
        assert_eq!(field(limits, "Seccomp:"), None);
    }
}
