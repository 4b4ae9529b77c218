//! Instructions of the whole core, counted by callgrind: the same on every machine with the same compiler.
//!
//! Without arguments every row runs under valgrind, in a process of its own, and is compared with what is recorded here;
//! `ROW COUNT` runs a row's unit so often, for a profile of your own:
//! `valgrind --tool=callgrind target/release/deps/instructions-… call-200B 1000`.

#[path = "../core/wire.rs"]
mod wire;

use std::process::{Command, ExitCode};
use wire::{ROWS, Row, Wire};

/// Instructions of a unit when they were last looked at, with the bench's own ends.
const RECORDED: [(&str, u64); 14] = [
    ("call-200B", 35_123),
    ("call-4KB", 39_030),
    ("call-64KB", 405_708),
    ("call-one-target", 30_076),
    ("call-modern", 43_076),
    ("call-legacy-to-modern", 87_330),
    ("call-modern-to-legacy", 133_279),
    ("call-64KB-legacy-to-modern", 0),
    ("call-64KB-modern-to-legacy", 0),
    ("call-1MB-legacy-to-modern", 0),
    ("list", 745_770),
    ("list-modern", 828_480),
    ("list-cached", 394_133),
    ("session", 375_796),
];

/// What a unit may cost more than that, in per cent.
const TOLERANCE: u64 = 3;

/// Units that are counted.
const COUNTED: u64 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [name, count] = arguments.as_slice() {
        let row = ROWS.into_iter().find(|row| row.name == name).expect("a row's name");
        let mut wire = Wire::new(row);
        (0..count.parse::<u64>().expect("a number")).for_each(|_| wire.unit());
        return ExitCode::SUCCESS;
    }
    let mut good = true;
    println!("| unit | instructions | recorded |\n|---|---|---|");
    for row in ROWS {
        let counted = (instructions(row, COUNTED) - instructions(row, 0)) / COUNTED;
        let recorded = RECORDED.iter().find(|(name, _)| *name == row.name).map_or(0, |(_, count)| *count);
        let dearer = counted * 100 > recorded * (100 + TOLERANCE);
        good &= !dearer;
        println!("| {} | {counted} | {recorded}{} |", row.name, if dearer { ": dearer" } else { "" });
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a run of `count` units takes.
fn instructions(row: Row, count: u64) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([row.name, &count.to_string()]).output().expect("valgrind is installed");
    let words = String::from_utf8_lossy(&output.stderr);
    let collected = words.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("{words}"))
}
