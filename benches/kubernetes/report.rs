//! The figures as Markdown.

use crate::cluster::Size;
use crate::measure::{CALLS, Changes, STEPS, Start, Turn, percentile};
use std::time::Duration;

/// All of one runtime.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Before an empty cluster.
    pub(crate) nothing: Start,
    pub(crate) start: Start,
    /// In the small cluster, and in the big one.
    pub(crate) few: Changes,
    pub(crate) many: Changes,
    /// Turns without and with a rolling update, by round.
    pub(crate) turns: Vec<[Turn; 2]>,
    /// Resident memory after them, in kB.
    pub(crate) after: u64,
    /// Cores that are busy while statuses are written.
    pub(crate) writing: f64,
    /// Snapshots a second meanwhile.
    pub(crate) snapshots: f64,
}

/// One table, a column for each runtime.
pub(crate) fn print(size: Size, small: Size, all: &[(String, Figures)]) {
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    println!("| {} Services × {} endpoints | {} |", size.services, size.endpoints, names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let row = |name: &str, figure: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = all.iter().map(|(_, figures)| figure(figures)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    let megabytes = |kilobytes: u64| format!("{:.1}", kilobytes as f64 / 1e3);
    row("ready after, ms: empty, big", &|it| {
        format!("{}, {}", millis(it.nothing.began.ready), millis(it.start.began.ready))
    });
    row("CPU of the start, ms: empty, big", &|it| {
        format!("{}, {}", millis(it.nothing.cpu), millis(it.start.cpu))
    });
    row("resident, MB: empty, big, peak of the start, at the end", &|it| {
        let [empty, big] = [it.nothing.resident, it.start.resident].map(megabytes);
        format!("{empty}, {big}, {}, {}", megabytes(it.start.began.peak), megabytes(it.after))
    });
    row("adapter's growth, MB", &|it| megabytes(it.start.resident.saturating_sub(it.nothing.resident)));
    row("first build, ms", &|it| millis(it.start.build));
    let scales = [(format!("{} × {}", small.services, small.endpoints), true), ("big".to_owned(), false)];
    for (scale, is_small) in &scales {
        let of = |it: &Figures| if *is_small { it.few.clone() } else { it.many.clone() };
        row(&format!("change to in force, ms, {scale}: p50, p99, most"), &|it| spread(&of(it).latencies));
        row(&format!("build, ms, {scale}: p50, p99, most"), &|it| spread(&of(it).builds));
        row(&format!("CPU of a change, ms, {scale}"), &|it| format!("{:.1}", of(it).cpu / 1e3));
    }
    for (name, which) in [("calm", 0), ("rolling", 1)] {
        let of = |it: &Figures, figure: fn(&Turn) -> f64| {
            median(it.turns.iter().filter_map(|turns| turns.get(which)).map(figure))
        };
        row(&format!("{CALLS} calls/s, {name}, µs: p50, p99, most"), &|it| {
            let [p50, p99, worst] = [of(it, |it| it.p50), of(it, |it| it.p99), of(it, |it| it.worst)];
            format!("{p50:.0}, {p99:.0}, {worst:.0}")
        });
        row(&format!("cores, {name}"), &|it| format!("{:.2}", of(it, |it| it.cores)));
    }
    row(&format!("{STEPS} pods/s to calm, ratio: p50, p99"), &|it| {
        let ratio = |figure: fn(&Turn) -> f64| {
            let ratios = it.turns.iter().map(|[calm, rolling]| figure(rolling) / figure(calm));
            median(ratios)
        };
        format!("{:.2}, {:.2}", ratio(|it| it.p50), ratio(|it| it.p99))
    });
    row("cores of other processes meanwhile", &|it| {
        let others = || it.turns.iter().flatten().map(|turn| turn.others);
        let (least, most) = (others().fold(f64::MAX, f64::min), others().fold(0.0, f64::max));
        format!("{least:.2}–{most:.2}")
    });
    row("while statuses are written: cores, snapshots/s", &|it| {
        format!("{:.2}, {:.1}", it.writing, it.snapshots)
    });
}

fn spread(sorted: &[Duration]) -> String {
    [50, 99, 100].map(|percent| millis(percentile(sorted, percent))).join(", ")
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
