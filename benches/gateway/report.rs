//! The figures as Markdown.

use crate::race::{Idle, Turn};
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

/// CPU of every contender at every workload, and then each workload in full.
pub(crate) fn print_race(contenders: &[String], workloads: &[&str], cells: &[Vec<Cell>]) {
    println!("### CPU per request, µs (ratio to {YARDSTICK})\n");
    println!("| contender | {} |", workloads.join(" | "));
    println!("|---|{}", "---|".repeat(workloads.len()));
    let yardstick = contenders.iter().position(|name| name == YARDSTICK);
    let base = |workload: usize| yardstick.and_then(|at| cells.get(workload)?.get(at));
    for (at, name) in contenders.iter().enumerate() {
        let row: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(workload, cells)| {
                cells.get(at).map_or_else(String::new, |cell| brief(cell, base(workload)))
            })
            .collect();
        println!("| {name} | {} |", row.join(" | "));
    }
    for (workload, (name, cells)) in workloads.iter().zip(cells).enumerate() {
        println!("\n### {name}\n");
        println!(
            "| contender | CPU µs (range) | ratio (range) | units/s | p50 µs | p99 µs | RSS MB | others, cores |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (contender, cell) in contenders.iter().zip(cells) {
            println!("| {contender} | {} |", full(cell, base(workload)));
        }
    }
    println!("\n\\* other processes used more than {NOISE} cores: not a figure to keep.");
}

fn brief(cell: &Cell, base: Option<&Cell>) -> String {
    let cpu = Spread::of(cell.iter().flatten().map(|turn| turn.cpu));
    let ratio = Spread::of(ratios(cell, base));
    if cpu.median == 0.0 {
        return "–".to_owned();
    }
    if cpu.median.is_nan() {
        return "failed".to_owned();
    }
    let noisy = cell.iter().flatten().any(|turn| turn.others > NOISE);
    let ratio = if ratio.median.is_nan() { String::new() } else { format!(" ({:.2})", ratio.median) };
    format!("{:.1}{ratio}{}", cpu.median, if noisy { "\\*" } else { "" })
}

fn full(cell: &Cell, base: Option<&Cell>) -> String {
    let spread = |figure: fn(&Turn) -> f64| Spread::of(cell.iter().flatten().map(figure));
    let (cpu, ratio) = (spread(|turn| turn.cpu), Spread::of(ratios(cell, base)));
    let others = spread(|turn| turn.others);
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
}

/// CPU by the yardstick's CPU in the same round.
fn ratios(cell: &Cell, base: Option<&Cell>) -> impl Iterator<Item = f64> {
    let base = base.map_or_else(Vec::new, Clone::clone);
    let pairs: Vec<_> = cell.iter().cloned().zip(base).collect();
    pairs.into_iter().filter_map(|(turn, base)| Some(turn?.cpu / base?.cpu))
}

/// What idle sessions cost each contender.
pub(crate) fn print_idle(count: usize, rows: &[(String, Idle)]) {
    println!("\n### {count} idle sessions, each with its GET stream\n");
    println!(
        "| contender | kB per session and stream | kB per session alone | CPU µs to make both | CPU µs per notification | RSS MB: start, held, after DELETE |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, idle) in rows {
        let [start, alone, held, after] = idle.resident;
        let each = |kilobytes: u64| kilobytes.saturating_sub(start) as f64 / count as f64;
        println!(
            "| {name} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0}, {:.0}, {:.0} |",
            each(held),
            each(alone),
            idle.create,
            idle.notify,
            start as f64 / 1e3,
            held as f64 / 1e3,
            after as f64 / 1e3,
        );
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(figures.len() / 2), most: at(figures.len().saturating_sub(1)) }
    }
}
