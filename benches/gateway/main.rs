//! Races the gateway against nginx over loopback, one pinned core for whoever's turn it is, and prints what a request
//! costs each of them and whether that is within its budget. `benches/README.md` explains the rows.
//!
//! `arguments` says what to run; `race` takes one turn of a workload with the load generator (`load`, which asks what `work`
//! says, or `streams`, which listen) against a `contender`, whose `process` is metered from `/proc`; `upstream` is the
//! fake target behind all of them, a process of its own. `idle`, `slow` and `scaling` look at what is no matter of turns:
//! memory, and more workers. `budget` holds all of it to what it may cost, and `report` prints.

mod arguments;
mod budget;
mod contender;
mod http;
mod idle;
mod load;
mod payload;
mod process;
mod race;
mod report;
mod scaling;
mod slow;
mod streams;
mod timer;
mod upstream;
mod work;

use arguments::{Options, USAGE};
use budget::Results;
use contender::{Contender, Era, Gateway, Recipe};
use race::{WORKLOADS, Workload};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use upstream::Upstream;

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
        _ => Options::parse(&arguments).and_then(|mut options| run(&mut options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Descriptors of processes for what is not sessions.
const OTHER_FILES: u64 = 2_000;

fn run(options: &mut Options) -> io::Result<()> {
    // A session of the gateway has its stream and one at each of three targets.
    let most = process::raise_file_limit().saturating_sub(OTHER_FILES) as usize / 4;
    if options.sessions > most {
        eprintln!("{most} sessions, not {}: more open files are not allowed here", options.sessions);
        options.sessions = most;
    }
    process::pin(process::LOAD_CORE)?;
    let upstream = Upstream::start(options.port)?;
    let folder = Folder::new()?;
    let at = (&upstream, folder.0.as_path());
    println!("{}; {} rounds of {:?}\n", report::machine(), options.rounds, options.length);
    let mut columns: Vec<String> = options.contenders.iter().map(|(name, _)| name.clone()).collect();
    columns.dedup();
    let mut results = Results::new(columns, options.workers);
    race_all(options, at, &mut results)?;
    if options.wants("idle") {
        hold_all(options, at, &mut results);
    }
    if options.wants("slow") {
        eprintln!("slow readers of {} MB", options.megabytes);
        read_all(options, at, &mut results);
    }
    if options.wants("workers") && options.workers > 1 {
        scale_all(options, at, &mut results);
    }
    report::print(options, &results);
    Ok(())
}

/// The fake target, and where files go.
type Place<'a> = (&'a Upstream, &'a Path);

fn race_all(options: &Options, (upstream, folder): Place<'_>, results: &mut Results) -> io::Result<()> {
    let workloads: Vec<&Workload> =
        WORKLOADS.iter().filter(|workload| options.wants(workload.name)).collect();
    if workloads.is_empty() {
        return Ok(());
    }
    let mut contenders = Vec::new();
    for (name, recipe) in &options.contenders {
        let contender = Contender::start(recipe, &upstream.targets, folder)?;
        contender.freeze();
        contenders.push((name, recipe.era(), contender));
    }
    for round in 0..options.rounds {
        for workload in &workloads {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, workload.name);
            let mut racing: Vec<_> = contenders
                .iter()
                .filter(|(_, era, _)| era.is_none_or(|era| era == workload.targets))
                .collect();
            // Another one starts each round, so that none always follows the same neighbour's heat.
            let first = round % racing.len().max(1);
            racing.rotate_left(first);
            for (name, _, contender) in racing {
                let turn = race::turn(workload, contender, upstream, options.length);
                if let Err(error) = &turn {
                    eprintln!("{}, {name}: {error}", workload.name);
                }
                results.turns(workload.name, name).push(turn.ok());
            }
        }
    }
    Ok(())
}

fn hold_all(options: &Options, (upstream, folder): Place<'_>, results: &mut Results) {
    for (name, recipe) in &options.contenders {
        if let Recipe::Direct | Recipe::Gateway(Gateway { era: Era::Modern, .. }) = recipe {
            continue;
        }
        eprintln!("{} idle sessions: {name}", options.sessions);
        match idle::hold(recipe, upstream, folder, options.sessions) {
            Ok(idle) => results.idle.push((name.clone(), idle)),
            Err(error) => eprintln!("idle sessions, {name}: {error}"),
        }
    }
}

fn read_all(options: &Options, (upstream, folder): Place<'_>, results: &mut Results) {
    let ours = |(_, recipe): &&(String, Recipe)| !matches!(recipe, Recipe::Direct | Recipe::Running(..));
    let recipes: Vec<(String, Recipe)> = options.contenders.iter().filter(ours).cloned().collect();
    let slow = slow::read_all(&recipes, upstream, folder, options.megabytes * 1_000_000);
    for ((name, outcome), (_, recipe)) in slow.into_iter().zip(&recipes) {
        match outcome {
            Ok(slow) => results.slow.push((name, recipe.era(), slow)),
            Err(error) => eprintln!("slow reader, {name}: {error}"),
        }
    }
}

fn scale_all(options: &Options, (upstream, folder): Place<'_>, results: &mut Results) {
    for (name, recipe) in &options.contenders {
        let Recipe::Gateway(gateway) = recipe else { continue };
        if gateway.era == Era::Modern {
            continue;
        }
        eprintln!("{} workers: {name}", options.workers);
        let gateway = Gateway { workers: options.workers, ..gateway.clone() };
        match scaling::compare(&gateway, upstream, folder, options.rounds, options.length) {
            Ok(rounds) => results.scaling.push((name.clone(), rounds)),
            Err(error) => eprintln!("{} workers, {name}: {error}", options.workers),
        }
    }
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
