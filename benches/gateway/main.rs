//! Races the gateway against nginx over loopback, one pinned core for whoever's turn it is, and prints what a request
//! costs each of them. `benches/README.md` explains the rows.
//!
//! `main` parses the command line and runs the rounds; `race` takes one turn with the load generator (`load`, which asks
//! what `work` says) against a `contender`, whose `process` is metered from `/proc`; `upstream` is the fake target behind
//! all of them, a process of its own; `report` prints.

mod contender;
mod http;
mod load;
mod payload;
mod process;
mod race;
mod report;
mod upstream;
mod work;

use contender::{Contender, Recipe};
use race::{WORKLOADS, Workload};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use upstream::Upstream;

const USAGE: &str = "usage: gateway-bench [options]
  --quick                   one short round of everything
  --rounds N                rounds (default 5)
  --seconds S               length of a turn (default 3)
  --only NAME               a workload by its name; may be given again
  --sessions N              idle sessions, 0 for none (default 1000)
  --gateway PATH            the gateway (default: mcp-gateway beside this program)
  --nginx PATH              nginx (default: from PATH)
  --without NAME            leaves out nginx, direct, tokio, glommio, tokio-modern or glommio-modern; may be given again
  --contender NAME=URL,PID  one more, running already; may be given again
  --port N                  the fake target listens on N, N+1 and N+2 in parts, and on N+3 as a whole";

struct Options {
    rounds: usize,
    length: Duration,
    sessions: usize,
    only: Vec<String>,
    contenders: Vec<(String, Recipe)>,
    /// First port of the fake target; 0 for any.
    port: u16,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("exec") => arguments
            .get(1)
            .and_then(|core| core.parse().ok())
            .ok_or_else(|| io::Error::other(USAGE))
            .and_then(|core| process::become_pinned(core, arguments.get(2..).unwrap_or_default())),
        Some("upstream") => {
            let port = arguments.get(1).and_then(|port| port.parse().ok()).unwrap_or(0);
            process::die_with_parent().and_then(|()| upstream::serve(port))
        }
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
        rounds: 5,
        length: Duration::from_secs(3),
        sessions: 1000,
        only: Vec::new(),
        contenders: Vec::new(),
        port: 0,
    };
    let mut gateway = std::env::current_exe()?.with_file_name("mcp-gateway");
    let mut nginx = "nginx".to_owned();
    let (mut without, mut more) = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--quick" => (options.rounds, options.length) = (1, Duration::from_millis(500)),
            _ => {
                let value =
                    arguments.next().ok_or_else(|| wrong(&format!("{flag} is unknown or lacks a value")))?;
                let number =
                    || value.parse::<f64>().map_err(|_| wrong(&format!("{flag} {value}: not a number")));
                match flag.as_str() {
                    "--rounds" => options.rounds = number()? as usize,
                    "--seconds" => options.length = Duration::from_secs_f64(number()?),
                    "--sessions" => options.sessions = number()? as usize,
                    "--port" => options.port = number()? as u16,
                    "--only" => options.only.push(value.clone()),
                    "--gateway" => gateway = PathBuf::from(value),
                    "--nginx" => nginx.clone_from(value),
                    "--without" => without.push(value.clone()),
                    "--contender" => {
                        more.push(parse_contender(value).ok_or_else(|| wrong(&format!("{flag} {value}")))?);
                    }
                    _ => return Err(wrong(&format!("{flag} is unknown"))),
                }
            }
        }
    }
    if let Some(name) =
        options.only.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != **name))
    {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        return Err(wrong(&format!("--only {name}: the workloads are {}", names.join(", "))));
    }
    options.contenders.push((report::YARDSTICK.to_owned(), Recipe::Nginx(nginx)));
    if gateway.exists() {
        for (name, runtime, protocol) in [
            ("tokio", "tokio", "legacy"),
            ("glommio", "glommio", "legacy"),
            ("tokio-modern", "tokio", "modern"),
            ("glommio-modern", "glommio", "modern"),
        ] {
            options.contenders.push((name.to_owned(), Recipe::Gateway(gateway.clone(), runtime, protocol)));
        }
    } else {
        eprintln!("no gateway at {}: build it with `cargo build --release`", gateway.display());
    }
    options.contenders.push(("direct".to_owned(), Recipe::Direct));
    options.contenders.extend(more);
    options.contenders.retain(|(name, _)| !without.contains(name));
    Ok(options)
}

/// `name=http://address/path,pid`
fn parse_contender(text: &str) -> Option<(String, Recipe)> {
    let (name, rest) = text.split_once('=')?;
    let (url, pid) = rest.rsplit_once(',')?;
    let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
    let recipe = Recipe::Running(address.parse().ok()?, format!("/{path}"), pid.parse().ok()?);
    Some((name.to_owned(), recipe))
}

fn run(options: &Options) -> io::Result<()> {
    process::raise_file_limit();
    process::pin(process::LOAD_CORE)?;
    let upstream = Upstream::start(options.port)?;
    let folder = Folder::new()?;
    println!("{}; {} rounds of {:?}\n", report::machine(), options.rounds, options.length);
    race_all(options, &upstream, &folder.0)?;
    if options.sessions > 0 && options.only.is_empty() {
        let mut rows = Vec::new();
        for (name, recipe) in &options.contenders {
            eprintln!("idle sessions: {name}");
            match race::idle(recipe, &upstream.targets, &folder.0, options.sessions) {
                Ok(idle) => rows.push((name.clone(), idle)),
                Err(error) => eprintln!("idle sessions, {name}: {error}"),
            }
        }
        report::print_idle(options.sessions, &rows);
    }
    Ok(())
}

fn race_all(options: &Options, upstream: &Upstream, folder: &Path) -> io::Result<()> {
    let mut contenders = Vec::new();
    for (_, recipe) in &options.contenders {
        let contender = Contender::start(recipe, &upstream.targets, folder)?;
        contender.freeze();
        contenders.push(contender);
    }
    let wanted = |workload: &&Workload| {
        options.only.is_empty() || options.only.iter().any(|name| name == workload.name)
    };
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(wanted).collect();
    let mut cells = vec![vec![Vec::new(); contenders.len()]; workloads.len()];
    for round in 0..options.rounds {
        for (workload, cells) in workloads.iter().zip(&mut cells) {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, workload.name);
            for turn in 0..contenders.len() {
                // Another one starts each round, so that none always follows the same neighbour's heat.
                let at = (turn + round) % contenders.len();
                let (Some(contender), Some((name, _)), Some(cell)) =
                    (contenders.get(at), options.contenders.get(at), cells.get_mut(at))
                else {
                    continue;
                };
                let turn = race::turn(workload, contender, upstream.pid(), options.length);
                if let Err(error) = &turn {
                    eprintln!("{}, {name}: {error}", workload.name);
                }
                cell.push(turn.ok());
            }
        }
    }
    let names: Vec<String> = options.contenders.iter().map(|(name, _)| name.clone()).collect();
    let workloads: Vec<&str> = workloads.iter().map(|workload| workload.name).collect();
    report::print_race(&names, &workloads, &cells);
    Ok(())
}

/// A folder for configurations and logs, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("gateway-bench-{}", std::process::id()));
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
