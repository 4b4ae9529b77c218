//! What everything may cost, and what it was found to cost.

use crate::contender::Era;
use crate::idle::Idle;
use crate::race::Turn;
use crate::report::{Cell, Spread, YARDSTICK};
use crate::scaling::Round;
use crate::slow::Slow;
use std::collections::BTreeMap;

/// One line of the budget.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) limit: Limit,
    pub(crate) of: Of,
}

/// What is within the budget.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Most(f64),
    Least(f64),
}

/// Where a line's figure comes from.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// A workload's CPU or latency, by the yardstick's in the same round.
    Ratio(&'static str, fn(&Turn) -> f64),
    /// kB of an idle session.
    Session,
    /// MB at start.
    Start,
    /// MB that a slow reader's answer makes it grow by.
    Growth(Era),
    /// Throughput of many workers by that of one.
    Scaling,
}

const fn cpu(name: &'static str, workload: &'static str, most: f64) -> Line {
    Line { name, limit: Limit::Most(most), of: Of::Ratio(workload, |turn| turn.cpu) }
}

const fn latency(
    name: &'static str,
    workload: &'static str,
    most: f64,
    percentile: fn(&Turn) -> f64,
) -> Line {
    Line { name, limit: Limit::Most(most), of: Of::Ratio(workload, percentile) }
}

/// All of them, as the tables show them.
pub(crate) const BUDGET: [Line; 25] = [
    cpu("call, 200 B", "call-200B", 0.95),
    cpu("call, 4 KB", "call-4KB", 1.0),
    cpu("call, modern client and target", "call-modern", 0.95),
    cpu("call, event stream", "call-sse", 1.0),
    cpu("call, 64 KB", "call-64KB", 1.05),
    cpu("call, 64 KB, modern", "call-64KB-modern", 1.05),
    cpu("call, 1 MB", "call-1MB", 0.7),
    cpu("call, 1 MB, modern", "call-1MB-modern", 0.7),
    cpu("legacy client, modern target", "legacy-to-modern", 1.15),
    cpu("modern client, legacy target", "modern-to-legacy", 1.15),
    cpu("list, merged live", "list", 3.0),
    cpu("list from a valid cache", "list-cached", 0.8),
    cpu("session life", "session", 2.2),
    cpu("1000 calls/s: CPU", "rate-1000", 1.0),
    latency("1000 calls/s: p50", "rate-1000", 1.0, |turn| turn.p50),
    latency("1000 calls/s: p99", "rate-1000", 1.15, |turn| turn.p99),
    cpu("4000 calls/s: CPU", "rate-4000", 1.0),
    latency("4000 calls/s: p50", "rate-4000", 1.0, |turn| turn.p50),
    latency("4000 calls/s: p99", "rate-4000", 1.15, |turn| turn.p99),
    cpu("notification on a stream", "notify", 0.8),
    Line { name: "idle session and its streams, kB", limit: Limit::Most(10.0), of: Of::Session },
    Line { name: "memory at start, MB", limit: Limit::Most(15.0), of: Of::Start },
    Line { name: "slow reader: growth, MB", limit: Limit::Most(1.0), of: Of::Growth(Era::Legacy) },
    Line { name: "slow reader, modern: growth, MB", limit: Limit::Most(1.0), of: Of::Growth(Era::Modern) },
    Line { name: "workers by one worker", limit: Limit::Least(1.85), of: Of::Scaling },
];

impl Limit {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::Most(most) => figure <= most,
            Self::Least(least) => figure >= least,
        }
    }
}

/// Everything that was measured, by column.
pub(crate) struct Results {
    pub(crate) columns: Vec<String>,
    turns: BTreeMap<(&'static str, String), Cell>,
    pub(crate) idle: Vec<(String, Idle)>,
    pub(crate) slow: Vec<(String, Option<Era>, Slow)>,
    pub(crate) scaling: Vec<(String, Vec<Round>)>,
    workers: usize,
}

impl Results {
    pub(crate) fn new(columns: Vec<String>, workers: usize) -> Self {
        let (idle, slow, scaling) = (Vec::new(), Vec::new(), Vec::new());
        Self { columns, turns: BTreeMap::new(), idle, slow, scaling, workers }
    }

    /// The turns of a column at a workload; `None` where one failed.
    pub(crate) fn turns(&mut self, workload: &'static str, column: &str) -> &mut Cell {
        self.turns.entry((workload, column.to_owned())).or_default()
    }

    pub(crate) fn cell(&self, workload: &'static str, column: &str) -> Option<&Cell> {
        self.turns.get(&(workload, column.to_owned()))
    }

    /// A line's entry in a column: the figure, and whether it is within the budget. `None` where nothing was measured.
    pub(crate) fn entry(&self, line: &Line, column: &str) -> Option<String> {
        let is_yardstick = column == YARDSTICK;
        let alone = |figure: f64| Spread::of([figure].into_iter());
        let (spread, noisy) = match line.of {
            Of::Ratio(workload, figure) => {
                let cell = self.cell(workload, column)?;
                let noisy = crate::report::is_noisy(cell.iter().flatten().map(|turn| turn.others));
                if is_yardstick {
                    let own = Spread::of(cell.iter().flatten().map(figure));
                    return Some(format!("{:.1} µs{}", own.median, mark(noisy)));
                }
                (Spread::of(self.ratios(workload, column, figure)), noisy)
            }
            Of::Session => (alone(find(&self.idle, column)?.each()), false),
            Of::Start => (alone(find(&self.idle, column)?.start()), false),
            Of::Growth(era) => {
                let mut slow =
                    self.slow.iter().filter(|(name, of, _)| name == column && of.is_none_or(|of| of == era));
                (alone(slow.next()?.2.growth()), false)
            }
            Of::Scaling => {
                let rounds = find(&self.scaling, column)?;
                let noisy = crate::report::is_noisy(rounds.iter().flatten().map(|pull| pull.others));
                (Spread::of(rounds.iter().map(|round| crate::scaling::gain(round, self.workers))), noisy)
            }
        };
        if spread.median.is_nan() {
            return Some("failed".to_owned());
        }
        let range = match spread.least < spread.most {
            true => format!(" ({:.2}–{:.2})", spread.least, spread.most),
            false => String::new(),
        };
        let verdict = match (is_yardstick, line.limit.is_met(spread.median)) {
            (true, _) => "",
            (false, true) => ", met",
            (false, false) => ", **missed**",
        };
        Some(format!("{:.2}{range}{verdict}{}", spread.median, mark(noisy)))
    }

    /// A figure of a column by the yardstick's in the same round.
    pub(crate) fn ratios(
        &self,
        workload: &'static str,
        column: &str,
        figure: fn(&Turn) -> f64,
    ) -> impl Iterator<Item = f64> {
        let cell = self.cell(workload, column).into_iter().flatten();
        let base = self.cell(workload, YARDSTICK).into_iter().flatten();
        cell.zip(base).filter_map(move |(turn, base)| Some(figure(turn.as_ref()?) / figure(base.as_ref()?)))
    }
}

fn find<'a, T>(rows: &'a [(String, T)], column: &str) -> Option<&'a T> {
    rows.iter().find(|(name, _)| name == column).map(|(_, row)| row)
}

fn mark(noisy: bool) -> &'static str {
    if noisy { "\\*" } else { "" }
}
