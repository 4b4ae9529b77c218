//! Measures the gateway before fake clusters: an empty one, a small one, and a big one. `benches/README.md` explains the rows.
//!
//! `main` parses the command line and goes over the runtimes; `cluster` fills a fake API server, which runs in this process;
//! `gateway` starts the gateway before it, pinned to a core of its own; `measure` makes changes and calls; `report` prints. The
//! load generator and the fake target are those of the race.

#[path = "../gateway/http.rs"]
#[expect(dead_code, reason = "the race asks for more")]
mod http;
#[path = "../gateway/load.rs"]
#[expect(dead_code, reason = "the race asks for more")]
mod load;
#[path = "../gateway/payload.rs"]
mod payload;
#[path = "../gateway/process.rs"]
#[expect(dead_code, reason = "the race asks for more")]
mod process;
#[path = "../gateway/timer.rs"]
mod timer;
#[path = "../gateway/upstream.rs"]
mod upstream;
#[path = "../gateway/work.rs"]
#[expect(dead_code, reason = "the race asks for more")]
mod work;

mod cluster;
mod gateway;
mod measure;
mod report;

use cluster::{Cluster, Size};
use gateway::{Gateway, free_address};
use report::Figures;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use upstream::Upstream;

const USAGE: &str = "usage: kubernetes-bench [options]
  --quick            a small cluster, and short turns
  --services N       Services of the big cluster (default 1000)
  --endpoints N      endpoints of each of them (default 100)
  --changes N        changes of one endpoint each (default 100)
  --rounds N         pairs of turns with and without a rolling update (default 5)
  --seconds S        length of a turn (default 10)
  --runtime NAME     tokio or glommio; may be given again (default: both)
  --gateway PATH     the gateway (default: mcp-gateway beside this program)";

/// What a big cluster is compared to.
const SMALL: Size = Size { services: 10, endpoints: 10 };
const EMPTY: Size = Size { services: 0, endpoints: 0 };
/// How long a gateway that writes statuses is looked at.
const WRITING: Duration = Duration::from_secs(10);

struct Options {
    size: Size,
    changes: usize,
    rounds: usize,
    length: Duration,
    runtimes: Vec<String>,
    gateway: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("exec") => arguments
            .get(1)
            .and_then(|core| core.parse().ok())
            .ok_or_else(|| io::Error::other(USAGE))
            .and_then(|core| process::become_pinned(core, arguments.get(2..).unwrap_or_default())),
        Some("upstream") => process::die_with_parent().and_then(|()| upstream::serve(0)),
        _ => parse(&arguments).and_then(|options| run(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> io::Result<Options> {
    let wrong = |what: &str| io::Error::other(format!("{what}\n{USAGE}"));
    let mut options = Options {
        size: Size { services: 1000, endpoints: 100 },
        changes: 100,
        rounds: 5,
        length: Duration::from_secs(10),
        runtimes: Vec::new(),
        gateway: std::env::current_exe()?.with_file_name("mcp-gateway"),
    };
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        if flag == "--quick" {
            options.size = Size { services: 100, endpoints: 10 };
            (options.changes, options.rounds, options.length) = (10, 1, Duration::from_secs(2));
            continue;
        }
        let value = arguments.next().ok_or_else(|| wrong(&format!("{flag} is unknown or lacks a value")))?;
        let number = || value.parse::<f64>().map_err(|_| wrong(&format!("{flag} {value}: not a number")));
        match flag.as_str() {
            "--services" => options.size.services = number()? as usize,
            "--endpoints" => options.size.endpoints = number()? as usize,
            "--changes" => options.changes = number()? as usize,
            "--rounds" => options.rounds = number()? as usize,
            "--seconds" => options.length = Duration::from_secs_f64(number()?),
            "--runtime" => options.runtimes.push(value.clone()),
            "--gateway" => options.gateway = PathBuf::from(value),
            _ => return Err(wrong(&format!("{flag} is unknown"))),
        }
    }
    if options.runtimes.is_empty() {
        options.runtimes = ["tokio", "glommio"].map(str::to_owned).to_vec();
    }
    if options.size.endpoints > 253 || options.size.services > 2000 {
        return Err(wrong("at most 2000 Services of 253 endpoints: addresses run out"));
    }
    Ok(options)
}

fn run(options: &Options) -> io::Result<()> {
    process::raise_file_limit();
    process::pin(process::LOAD_CORE)?;
    let upstream = Upstream::start(0)?;
    let [.., live] = upstream.targets;
    let folder = Folder::new()?;
    // One address for all gateways, one after the other.
    let at = free_address()?;
    let mut all = Vec::new();
    eprintln!("filling the clusters");
    let mut clusters = [EMPTY, SMALL, options.size].map(|size| Cluster::start(size, at.port(), live));
    for runtime in &options.runtimes {
        let figures = figures(options, runtime, at, upstream.pid(), &mut clusters, &folder.0)?;
        all.push((runtime.clone(), figures));
    }
    report::print(options.size, SMALL, &all);
    Ok(())
}

fn figures(
    options: &Options,
    runtime: &str,
    at: SocketAddr,
    upstream: i32,
    clusters: &mut [Cluster; 3],
    folder: &Path,
) -> io::Result<Figures> {
    let begin = |cluster: &Cluster, write_status| {
        let kubeconfig = cluster.server.kubeconfig();
        Gateway::start(&options.gateway, runtime, &kubeconfig, folder, write_status)
    };
    let [empty, small, big] = clusters;
    eprintln!("{runtime}: an empty cluster");
    let nothing = measure::start(&begin(empty, false)?, empty)?;

    eprintln!("{runtime}: a small cluster");
    let gateway = begin(small, false)?;
    measure::start(&gateway, small)?;
    let few = measure::changes(&gateway, small, options.changes)?;
    drop(gateway);

    eprintln!("{runtime}: a big cluster");
    let gateway = begin(big, false)?;
    let start = measure::start(&gateway, big)?;
    let many = measure::changes(&gateway, big, options.changes)?;
    let mut turns = Vec::new();
    for round in 0..options.rounds {
        eprintln!("{runtime}: round {} of {}", round + 1, options.rounds);
        // Neither is always the first.
        let mut turn = |rolling| measure::turn(&gateway, (at, upstream), big, rolling, options.length);
        let (calm, rolling) = if round % 2 == 0 {
            let calm = turn(false)?;
            (calm, turn(true)?)
        } else {
            let rolling = turn(true)?;
            (turn(false)?, rolling)
        };
        turns.push([calm, rolling]);
    }
    let after = gateway.process.resident();
    drop(gateway);

    eprintln!("{runtime}: statuses are written");
    let gateway = begin(big, true)?;
    measure::start(&gateway, big)?;
    let (snapshots, cpu) = (gateway.metric("mcp_gateway_kubernetes_snapshots_total")?, gateway.process.cpu());
    std::thread::sleep(WRITING);
    let snapshots = gateway.metric("mcp_gateway_kubernetes_snapshots_total")? - snapshots;
    let writing = (gateway.process.cpu() - cpu).as_secs_f64() / WRITING.as_secs_f64();
    Ok(Figures {
        nothing,
        start,
        few,
        many,
        turns,
        after,
        writing,
        snapshots: snapshots / WRITING.as_secs_f64(),
    })
}

/// A folder for configurations and logs, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("kubernetes-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is small.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
