//! Processes under test: started pinned, frozen outside their turn, and read out of `/proc`.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// The core of whatever is measured; everything else runs on [`LOAD_CORE`].
pub(crate) const MEASURED_CORE: usize = 0;
/// The core of the load generator and the fake target.
pub(crate) const LOAD_CORE: usize = 1;

/// Open files for every process: enough for 10,000 sessions with a stream to each of three targets.
const FILES: u64 = 1 << 17;

/// Pins this thread, and all that it starts later.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    pin_thread(None, &[core])
}

/// Pins a thread, or this one, to any of `cores`.
pub(crate) fn pin_thread(thread: Option<Pid>, cores: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(rustix::thread::sched_setaffinity(thread, &set)?)
}

/// Lets this process and its children have as many sockets as the rows need, or as many as it may; how many.
pub(crate) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let plenty = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    if setrlimit(Resource::Nofile, plenty).is_err() {
        let most = getrlimit(Resource::Nofile).maximum;
        // A small limit only shows in the rows with very many connections, and there as an error.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(FILES)
}

/// Becomes `command`, pinned to `core`, to die with the harness even when frozen.
pub(crate) fn become_pinned(core: usize, command: &[String]) -> io::Result<()> {
    die_with_parent()?;
    pin(core)?;
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Err(Command::new(program).args(arguments).exec())
}

/// Has the kernel kill this process when the one that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// A running contender.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// Ours to end.
    child: Option<Child>,
}

impl Process {
    /// Starts `command` pinned to the measured core, its output in `log`.
    pub(crate) fn start(command: &[String], log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["exec", &MEASURED_CORE.to_string()])
            .args(command)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { pid: Pid::from_child(&child), child: Some(child) })
    }

    /// Its threads whose names satisfy `wanted`, oldest first.
    pub(crate) fn threads(&self, wanted: impl Fn(&str) -> bool) -> Vec<Pid> {
        let named = tasks(self.pid.as_raw_nonzero().get())
            .filter(|task| wanted(fs::read_to_string(task.join("comm")).unwrap_or_default().trim()));
        let mut threads: Vec<Pid> =
            named.filter_map(|task| Pid::from_raw(task.file_name()?.to_str()?.parse().ok()?)).collect();
        threads.sort_by_key(|thread| thread.as_raw_nonzero());
        threads
    }

    /// Somebody else's process; pinning it is their business.
    pub(crate) fn running(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { pid, child: None })
    }

    /// The process and all below it.
    fn family(&self) -> Vec<i32> {
        let mut family = vec![self.pid.as_raw_nonzero().get()];
        let mut at = 0;
        while let Some(pid) = family.get(at).copied() {
            for task in tasks(pid) {
                let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
            }
            at += 1;
        }
        family
    }

    fn signal(&self, signal: Signal) {
        for pid in self.family().into_iter().filter_map(Pid::from_raw) {
            // One that has ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// CPU time of all its threads so far, by the scheduler's clock: user and system, io_uring workers as well.
    pub(crate) fn cpu(&self) -> Duration {
        self.family().into_iter().map(cpu).sum()
    }

    /// Resident memory in kB.
    pub(crate) fn resident(&self) -> u64 {
        self.family()
            .into_iter()
            .map(|pid| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
            })
            .sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.thaw();
        if let Some(child) = &mut self.child {
            // Nothing is left to do for a process that can't be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tasks(pid: i32) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path())
}

/// CPU time of one process.
pub(crate) fn cpu(pid: i32) -> Duration {
    let nanos = |task: std::path::PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks(pid).map(nanos).sum())
}

/// Time all cores of the machine were busy or taken by its host, at the kernel's 10 ms grain.
pub(crate) fn machine() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().into_iter().flat_map(|line| line.split_whitespace().skip(1));
    // Idle and waiting for disks (3 and 4) are no work; guests (from 8 on) are counted as users already.
    let busy = fields.take(8).enumerate().filter(|(number, _)| !matches!(number, 3 | 4));
    Duration::from_millis(busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}
