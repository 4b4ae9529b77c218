//! Real processes, their keeper, and a gateway that is killed. The keeper and that gateway are this test program, started
//! again in another role.

use super::*;
use routing::Process;
use std::fs;
use std::io::PipeWriter;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const ROLE: &str = "CHILDREN_TEST_ROLE";
const MARK: &str = "CHILDREN_TEST_MARK";
/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// This program, running one function of this file.
fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("children::tests::{name}"), "--nocapture"]).env(ROLE, name);
    command
}

fn is_role(name: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == name)
}

fn test_keeper() -> Command {
    role("as_keeper")
}

#[test]
fn as_keeper() {
    if is_role("as_keeper") {
        keeper::run();
    }
}

/// What a worker has of a child.
struct Connection {
    stdin: UnixStream,
    stdout: UnixStream,
    _leash: PipeWriter,
}

impl Connection {
    async fn all(&mut self) -> String {
        let mut text = String::new();
        timeout(PATIENCE, self.stdout.read_to_string(&mut text)).await.expect("its output ends").unwrap();
        text
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match timeout(PATIENCE, self.stdout.read_u8()).await.expect("a line").unwrap() {
                b'\n' => return String::from_utf8(line).unwrap(),
                byte => line.push(byte),
            }
        }
    }
}

fn start(keeping: &Keeping, process: Process) -> Connection {
    let pair = || std::os::unix::net::UnixStream::pair().unwrap();
    let ((ours_in, stdin), (ours_out, stdout), (released, leash)) = (pair(), pair(), io::pipe().unwrap());
    let target = TargetName::parse("tool").unwrap();
    keeping.children().spawn(Child { target, process: Arc::new(process), stdin, stdout, released });
    let adopt = |stream: std::os::unix::net::UnixStream| {
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    };
    Connection { stdin: adopt(ours_in), stdout: adopt(ours_out), _leash: leash }
}

/// A shell that runs `script` and can be found by `mark`.
fn shell(script: &str, mark: &str) -> Process {
    let path = std::env::var("PATH").unwrap();
    let args = ["-c", script, mark].map(str::to_owned).to_vec();
    let env = vec![("PATH".to_owned(), path), ("MARK".to_owned(), mark.to_owned())];
    Process { command: "sh".to_owned(), args, env, cwd: None, shared: false }
}

/// It and its own child hear no SIGTERM and don't read their input.
const STUBBORN: &str =
    "trap '' TERM; sh -c 'while :; do sleep 1; done' $MARK & echo $$; while :; do sleep 1; done";

fn mark(name: &str) -> String {
    format!("children-test-{}-{name}", std::process::id())
}

/// The processes that have `mark` in their command line.
fn marked(mark: &str) -> Vec<i32> {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    })
    .collect()
}

/// What every child of this process would get: standard ones, the next one, and what whoever started it left open.
fn inheritable() -> Vec<u32> {
    const CLOEXEC: u32 = 0o2000000;
    let folder = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let inherited = folder.filter_map(|entry| {
        let info = fs::read_to_string(entry.path()).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        let is_kept = u32::from_str_radix(flags, 8).unwrap() & CLOEXEC == 0;
        is_kept.then(|| entry.file_name().to_str().unwrap().parse().unwrap())
    });
    let all: std::collections::BTreeSet<u32> = inherited.chain(0..=3).collect();
    all.into_iter().collect()
}

/// State and parent of a process.
fn state(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_child_is_talked_to_and_ends_with_its_input() {
    let (keeping, mark) = (Keeping::start(test_keeper), mark("echo"));
    let mut child = start(&keeping, shell("cat; exit 0", &mark));
    child.stdin.write_all(b"{\"ping\": 1}\n").await.unwrap();
    assert_eq!(child.line().await, "{\"ping\": 1}");
    assert_eq!(marked(&mark).len(), 1);
    drop(child);
    keeping.end().await;
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn a_child_has_its_environment_and_folder_and_descriptors_and_nothing_else() {
    let keeping = Keeping::start(test_keeper);
    let process = Process {
        command: "env".to_owned(),
        args: Vec::new(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("A".to_owned(), "b c".to_owned())],
        cwd: None,
        shared: false,
    };
    assert_eq!(start(&keeping, process).all().await, "A=b c\nPATH=/usr/bin:/bin\n");
    let process = Process { cwd: Some("/usr".to_owned()), ..shell("pwd", "folder") };
    assert_eq!(start(&keeping, process).all().await, "/usr\n");
    // A server that is connected to already must not keep another one's connection open.
    let other = start(&keeping, shell("cat", "other"));
    let listing = shell("ls /proc/self/fd", "descriptors");
    let mut listed: Vec<u32> =
        start(&keeping, listing).all().await.lines().map(|name| name.parse().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, inheritable(), "3 is the listed folder");
    drop(other);
    keeping.end().await;
}

/// Takes the two graces of two seconds that a stubborn one gets.
#[tokio::test]
async fn a_child_that_hears_nothing_is_killed_with_all_it_started() {
    let (keeping, mark) = (Keeping::start(test_keeper), mark("stubborn"));
    let mut child = start(&keeping, shell(STUBBORN, &mark));
    child.line().await;
    until("two processes", || marked(&mark).len() == 2).await;
    drop(child);
    keeping.end().await;
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn what_a_child_leaves_behind_is_ended_and_nothing_stays_dead() {
    let (keeping, mark) = (Keeping::start(test_keeper), mark("orphans"));
    let mut witness = start(&keeping, shell("echo $PPID; cat", "witness"));
    let keeper: i32 = witness.line().await.parse().unwrap();
    for _ in 0..20 {
        start(&keeping, shell("sh -c 'sleep 1000; :' $MARK & sh -c 'exit 3'; exit 3", &mark)).all().await;
    }
    until("all of them are gone", || marked(&mark).is_empty()).await;
    // Tells who its parent is once the first one is gone.
    let orphan = "trap '' TERM; export FIRST=$$; sh -c \
                  'while p=$(cut -d\" \" -f4 /proc/$$/stat); [ $p = $FIRST ]; do :; done; echo $p' $MARK &";
    let adopted = start(&keeping, shell(orphan, &mark)).all().await;
    assert_eq!(adopted.trim().parse(), Ok(keeper));
    let dead = || {
        let folders = fs::read_dir("/proc").unwrap().flatten();
        let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
        pids.filter(|pid| state(*pid) == Some(('Z', keeper))).count()
    };
    until("nobody waits to be reaped", || dead() == 0).await;
    drop(witness);
    keeping.end().await;
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_told_and_ends_at_once() {
    let said = Said::default();
    let log = tracing_subscriber::fmt()
        .with_writer({
            let said = said.clone();
            move || said.clone()
        })
        .with_ansi(false)
        .with_target(false);
    let _guard = tracing::subscriber::set_default(log.finish());
    let keeping = Keeping::start(test_keeper);
    let nothing = Process { command: "/nonexistent/server".to_owned(), ..shell("", "nothing") };
    let (mut nothing, mut noisy) =
        (start(&keeping, nothing), start(&keeping, shell("echo one >&2; exit 7", "noisy")));
    assert_eq!((nothing.all().await, noisy.all().await), Default::default());
    let said = || String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    for line in [
        "ERROR can't start the process target=tool reason=\"\\\"/nonexistent/server\\\" is not found, or the folder \
         it starts in is not\"",
        "INFO stderr target=tool line=\"one\"",
        "WARN process ended by itself target=tool status=\"exit code 7\"",
    ] {
        until(line, || said().contains(line)).await;
    }
    keeping.end().await;
}

/// A gateway with ten stubborn children and many on their way. It is killed.
#[tokio::test]
async fn as_gateway() {
    if !is_role("as_gateway") {
        return;
    }
    let mark = std::env::var(MARK).unwrap();
    let keeping = Keeping::start(test_keeper);
    let mut children: Vec<Connection> = (0..10).map(|_| start(&keeping, shell(STUBBORN, &mark))).collect();
    for child in &mut children {
        child.line().await;
    }
    children.extend((0..50).map(|_| start(&keeping, shell(STUBBORN, &mark))));
    tokio::time::sleep(Duration::from_millis(20)).await;
    eprintln!("ready");
    std::future::pending::<()>().await;
}

/// Takes four seconds as well.
#[tokio::test]
async fn nothing_outlives_a_gateway_that_is_killed() {
    let mark = mark("killed");
    let mut gateway = role("as_gateway").env(MARK, &mark).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = gateway.stderr.take().unwrap();
    let ready = io::BufRead::lines(io::BufReader::new(stderr)).map_while(Result::ok);
    assert!(ready.into_iter().any(|line| line == "ready"));
    assert!(marked(&mark).len() >= 20);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    until("nothing is left", || marked(&mark).is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(marked(&mark).is_empty(), "nothing comes after");
}

#[tokio::test]
async fn children_of_a_keeper_that_dies_are_killed_and_the_next_has_another() {
    let (keeping, mark) = (Keeping::start(test_keeper), mark("orphaned"));
    let mut child = start(&keeping, shell(STUBBORN, &mark));
    let pid: i32 = child.line().await.parse().unwrap();
    until("two processes", || marked(&mark).len() == 2).await;
    // Orders and reports are in line: when a second child has spoken, the keeper has reported the first.
    assert_eq!(start(&keeping, shell("echo second", "second")).all().await, "second\n");
    let (_, keeper) = state(pid).unwrap();
    rustix::process::kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    assert_eq!(child.all().await, "");
    until("nothing is left", || marked(&mark).is_empty()).await;
    assert_eq!(start(&keeping, shell("echo again", "again")).all().await, "again\n");
    keeping.end().await;
}
