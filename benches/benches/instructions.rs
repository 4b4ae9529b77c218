//! Instructions of the whole core, counted by callgrind: the same on every machine with the same compiler and C library.
//!
//! Without arguments every row runs under valgrind, in a process of its own, and is compared with what is recorded here; then
//! both ends of each curve, which must not differ by more than a few per cent. `--curve` counts the points between
//! as well, and the largest. `ROW COUNT` runs a row's unit so often, for a profile of your own:
//! `valgrind --tool=callgrind target/release/deps/instructions-… call-200B 1000`; `CURVE SIZE COUNT` does so on a curve.

#[path = "../core/curve.rs"]
mod curve;
#[path = "../core/wire.rs"]
mod wire;

use curve::{CURVES, Curve};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use wire::{ROWS, Row, Wire};

/// How memory is copied must not depend on the processor: `rep movsb` counts one instruction a byte, and from which length on
/// it is taken is up to who made the processor.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM:glibc.cpu.x86_non_temporal_threshold=0x10000000";

/// Instructions of a unit when they were last looked at, with the bench's own ends.
const RECORDED: [(&str, u64); ROWS.len()] = [
    ("call-200B", 31_458),
    ("call-4KB", 36_810),
    ("call-64KB", 84_707),
    ("call-one-target", 28_015),
    ("call-modern", 37_813),
    ("call-legacy-to-modern", 40_397),
    ("call-modern-to-legacy", 43_242),
    ("call-64KB-legacy-to-modern", 93_227),
    ("call-64KB-modern-to-legacy", 96_030),
    ("call-1MB-legacy-to-modern", 830_574),
    ("list", 72_537),
    ("list-modern", 82_846),
    ("list-cached", 29_181),
    ("session", 199_099),
    ("notify", 8_024),
];

/// What a unit may cost more than that, in per cent.
const TOLERANCE: u64 = 3;

/// What the last point of a curve may cost more than the first, in per cent: a search in a map of 10,000 times as many
/// entries, some 13 comparisons, is within it, and a step for each entry is not.
const GROWTH: u64 = 5;

/// Units that are counted.
const COUNTED: usize = 500;

/// The largest size of a curve without `--curve`: opening so many sessions is what takes the time.
const LARGEST: usize = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments.as_slice() {
        [] => outcome(rows() & curves(false)),
        ["--curve"] => outcome(curves(true)),
        [name, count] => {
            let row = ROWS.into_iter().find(|row| row.name == *name).expect("a row's name");
            run(row, number(count))
        }
        [name, size, count] => {
            let curve = CURVES.into_iter().find(|curve| curve.name == *name).expect("a curve's name");
            run(curve.at(number(size)), number(count))
        }
        _ => outcome(false),
    }
}

fn outcome(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(row: Row, count: usize) -> ExitCode {
    counted(&mut Wire::new(row), count);
    ExitCode::SUCCESS
}

/// All that callgrind counts; it goes by this name.
#[inline(never)]
fn counted(wire: &mut Wire, count: usize) {
    (0..count).for_each(|_| wire.unit());
}

/// Whether no row is dearer than recorded.
fn rows() -> bool {
    let counts = count_all(&ROWS.map(|row| vec![row.name.to_owned()]));
    let mut good = true;
    println!("| unit | instructions | recorded |\n|---|---|---|");
    for (row, counted) in ROWS.into_iter().zip(counts) {
        let recorded = RECORDED.iter().find(|(name, _)| *name == row.name).map_or(0, |(_, count)| *count);
        let dearer = counted * 100 > recorded * (100 + TOLERANCE);
        good &= !dearer;
        println!("| {} | {counted} | {recorded}{} |", row.name, if dearer { ": dearer" } else { "" });
    }
    good
}

/// Whether no curve grows; `all` are its points, not only its ends.
fn curves(all: bool) -> bool {
    let points = |curve: &Curve| -> Vec<usize> {
        let (first, rest) = curve.sizes.split_first().expect("a curve has points");
        let rest: Vec<usize> = rest.iter().copied().filter(|size| all || *size <= LARGEST).collect();
        let last = rest.last().copied();
        [*first].into_iter().chain(if all { rest } else { last.into_iter().collect() }).collect()
    };
    let jobs: Vec<Vec<String>> = CURVES
        .iter()
        .flat_map(|curve| points(curve).into_iter().map(|size| vec![curve.name.to_owned(), size.to_string()]))
        .collect();
    let mut counts = count_all(&jobs).into_iter();
    let mut good = true;
    println!("\n| instructions of a call, with more and more | at each size | grows by |\n|---|---|---|");
    for curve in CURVES {
        let sizes = points(&curve);
        let counts: Vec<u64> = counts.by_ref().take(sizes.len()).collect();
        let [first, .., last] = counts.as_slice() else { continue };
        let grows = last * 100 > first * (100 + GROWTH);
        good &= !grows;
        let pairs: Vec<String> =
            sizes.iter().zip(&counts).map(|(size, count)| format!("{size}: {count}")).collect();
        let growth = (*last as f64 / *first as f64 - 1.0) * 100.0;
        let verdict = if grows { ", too much" } else { "" };
        println!("| {} | {} | {growth:.1} %{verdict} |", curve.name, pairs.join(", "));
    }
    good
}

/// Instructions of a unit with each of these arguments, as many at a time as there are cores.
fn count_all(jobs: &[Vec<String>]) -> Vec<u64> {
    // From the end: what takes longest comes late in a curve.
    let left = Mutex::new(jobs.iter().enumerate().collect::<Vec<_>>());
    let next = || left.lock().expect("nobody panics").pop();
    let work = || std::iter::from_fn(next).map(|(at, job)| (at, instructions(job))).collect::<Vec<_>>();
    let mut counts = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let counts = workers.into_iter().map(|worker| worker.join().expect("valgrind counts"));
        counts.collect::<Vec<_>>().concat()
    });
    counts.sort_unstable();
    counts.into_iter().map(|(_, count)| count).collect()
}

/// What a unit takes.
fn instructions(job: &[String]) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted*"]);
    valgrind.env("GLIBC_TUNABLES", TUNABLES);
    let output = valgrind.arg(program).args(job).arg(COUNTED.to_string()).output();
    let words = String::from_utf8_lossy(&output.expect("valgrind is installed").stderr).into_owned();
    let collected =
        words.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    collected.unwrap_or_else(|| panic!("{words}")) / COUNTED as u64
}
