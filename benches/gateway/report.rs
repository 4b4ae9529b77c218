//! The figures as Markdown.

use crate::arguments::Options;
use crate::budget::{BUDGET, Limit, Results};
use crate::race::{Turn, WORKLOADS};
use std::fs;
use std::process::Command;

/// The contender all others are compared to.
pub(crate) const YARDSTICK: &str = "nginx";
/// Cores in the hands of other processes from which on a figure is marked.
const NOISE: f64 = 0.1;

/// All turns of one contender at one workload, by round; `None` where it failed.
pub(crate) type Cell = Vec<Option<Turn>>;

/// The machine, on one line.
pub(crate) fn machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let nginx = Command::new("nginx").arg("-v").output().map_or_else(
        |_| "no nginx".to_owned(),
        |output| String::from_utf8_lossy(&output.stderr).trim().replace("nginx version: ", ""),
    );
    let model = model.map_or("unknown CPU", |(_, model)| model);
    format!("{cores} cores, {model}, Linux {}, {nginx}", release.trim())
}

/// The budget first, and then what it was found from.
pub(crate) fn print(options: &Options, results: &Results) {
    print_budget(results);
    for workload in WORKLOADS.iter().map(|workload| workload.name) {
        let cells =
            || results.columns.iter().filter_map(|column| Some((column, results.cell(workload, column)?)));
        if cells().next().is_none() {
            continue;
        }
        println!("\n### {workload}\n");
        println!(
            "| contender | CPU µs (range) | ratio (range) | units/s | p50 µs | p99 µs | RSS MB | others, cores |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (column, cell) in cells() {
            let ratio = Spread::of(results.ratios(workload, column, |turn| turn.cpu));
            println!("| {column} | {} |", full(cell, &ratio));
        }
    }
    print_idle(options, results);
    print_slow(options, results);
    print_scaling(options, results);
    println!("\n\\* other processes used more than {NOISE} cores: not a figure to keep.");
}

fn print_budget(results: &Results) {
    println!("### The budget: by {YARDSTICK}'s figure in the same round, unless a unit is named\n");
    println!("| row | budget | {} |", results.columns.join(" | "));
    println!("|---|---|{}", "---|".repeat(results.columns.len()));
    for line in &BUDGET {
        let entries: Vec<_> = results.columns.iter().map(|column| results.entry(line, column)).collect();
        if entries.iter().all(Option::is_none) {
            continue;
        }
        let limit = match line.limit {
            Limit::Most(most) => format!("≤ {most}"),
            Limit::Least(least) => format!("≥ {least}"),
        };
        let entries: Vec<String> =
            entries.into_iter().map(|entry| entry.unwrap_or_else(|| "–".to_owned())).collect();
        println!("| {} | {limit} | {} |", line.name, entries.join(" | "));
    }
}

fn full(cell: &Cell, ratio: &Spread) -> String {
    let spread = |figure: fn(&Turn) -> f64| Spread::of(cell.iter().flatten().map(figure));
    let (cpu, others) = (spread(|turn| turn.cpu), spread(|turn| turn.others));
    let failed = cell.iter().filter(|turn| turn.is_none()).count();
    let metered = if cpu.median > 0.0 {
        format!(
            "{:.1} ({:.1}–{:.1}) | {:.2} ({:.2}–{:.2})",
            cpu.median, cpu.least, cpu.most, ratio.median, ratio.least, ratio.most
        )
    } else {
        "– | –".to_owned()
    };
    format!(
        "{metered} | {:.0} | {:.0} | {:.0} | {:.1} | {:.2}–{:.2}{}",
        spread(|turn| turn.rate).median,
        spread(|turn| turn.p50).median,
        spread(|turn| turn.p99).median,
        spread(|turn| turn.resident).most,
        others.least,
        others.most,
        if failed == 0 { String::new() } else { format!(" ({failed} rounds failed)") },
    )
    .replace("NaN", "–")
}

/// What idle sessions cost each contender.
fn print_idle(options: &Options, results: &Results) {
    if results.idle.is_empty() {
        return;
    }
    println!("\n### {} idle sessions, each with its GET stream and those at its targets\n", options.sessions);
    println!(
        "| contender | kB per session and streams | kB per session alone | CPU µs to make both | RSS MB: start, held, after DELETE |"
    );
    println!("|---|---|---|---|---|");
    for (name, idle) in &results.idle {
        let [start, _, held, after] = idle.resident.map(|kilobytes| kilobytes as f64 / 1e3);
        println!(
            "| {name} | {:.1} | {:.1} | {:.0} | {start:.1}, {held:.0}, {after:.0} |",
            idle.each(),
            idle.alone(),
            idle.create,
        );
    }
}

/// What a long answer to a slow reader costs.
fn print_slow(options: &Options, results: &Results) {
    if results.slow.is_empty() {
        return;
    }
    println!("\n### An answer of {} MB to a reader at 10 MB/s\n", options.megabytes);
    println!("| contender | targets | RSS MB: as it begins, at most |\n|---|---|---|");
    for (name, era, slow) in &results.slow {
        let era = era.map_or_else(|| "any".to_owned(), |era| format!("{era:?}").to_lowercase());
        println!("| {name} | {era} | {:.1}, {:.1} |", slow.start as f64 / 1e3, slow.most as f64 / 1e3);
    }
}

/// What more workers bring.
fn print_scaling(options: &Options, results: &Results) {
    if results.scaling.is_empty() {
        return;
    }
    let count = options.workers;
    println!("\n### {count} workers, on as many cores, which the load shares\n");
    println!(
        "| contender | calls/s: one worker, {count} processes of one, one process of {count} | CPU µs per call: the same | last two, as a multiple of one | others, cores |"
    );
    println!("|---|---|---|---|---|");
    for (name, rounds) in &results.scaling {
        let of = |at: usize, figure: fn(&crate::scaling::Pull) -> f64| {
            Spread::of(rounds.iter().filter_map(|round| round.get(at)).map(figure)).median
        };
        let rates: Vec<String> = (0..3).map(|at| format!("{:.0}", of(at, |pull| pull.rate))).collect();
        let cpus: Vec<String> = (0..3).map(|at| format!("{:.1}", of(at, |pull| pull.cpu))).collect();
        let gain = Spread::of(rounds.iter().map(|round| crate::scaling::gain(round, count)));
        let others = Spread::of(rounds.iter().flatten().map(|pull| pull.others));
        println!(
            "| {name} | {} | {} | {:.2} ({:.2}–{:.2}) | {:.2}–{:.2} |",
            rates.join(", "),
            cpus.join(", "),
            gain.median,
            gain.least,
            gain.most,
            others.least,
            others.most,
        );
    }
}

/// Whether other processes took so much of the machine in any turn that a figure is not to be kept.
pub(crate) fn is_noisy(mut others: impl Iterator<Item = f64>) -> bool {
    others.any(|cores| cores > NOISE)
}

/// Of a handful of figures.
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(figures.len() / 2), most: at(figures.len().saturating_sub(1)) }
    }
}
