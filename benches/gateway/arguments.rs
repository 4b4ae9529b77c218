//! The command line.

use crate::contender::{Era, Gateway, Recipe};
use crate::race::WORKLOADS;
use crate::report;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "usage: gateway-bench [options]
  --quick                   one short round of everything
  --rounds N                rounds (default 5)
  --seconds S               length of a turn (default 2)
  --only NAME               a workload by its name, or idle, slow or workers; may be given again
  --sessions N              idle sessions (default 10000)
  --megabytes N             length of the answer to a slow reader (default 1074, which are 1 GiB)
  --workers N               workers compared to one, on as many cores (default 2)
  --gateway PATH            the gateway (default: mcp-gateway beside this program)
  --nginx PATH              nginx (default: from PATH)
  --direct                  with the load generator alone, without anything between it and the fake target
  --without NAME            leaves out nginx, tokio or glommio; may be given again
  --contender NAME=URL,PID  one more, running already; may be given again
  --port N                  the fake target listens on N, N+1 and N+2 in parts, and on N+3 as a whole";

/// What is run besides workloads.
pub(crate) const PARTS: [&str; 3] = ["idle", "slow", "workers"];

/// What to run, and whom.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) sessions: usize,
    pub(crate) megabytes: usize,
    pub(crate) workers: usize,
    only: Vec<String>,
    /// By column; the gateway has two in each of its columns, one for each era of targets.
    pub(crate) contenders: Vec<(String, Recipe)>,
    /// First port of the fake target; 0 for any.
    pub(crate) port: u16,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> io::Result<Self> {
        let mut options = Self {
            rounds: 5,
            length: Duration::from_secs(2),
            sessions: 10_000,
            megabytes: 1074,
            workers: 2,
            only: Vec::new(),
            contenders: Vec::new(),
            port: 0,
        };
        let mut found = Found {
            gateway: std::env::current_exe()?.with_file_name("mcp-gateway"),
            nginx: "nginx".to_owned(),
            direct: false,
            without: Vec::new(),
            more: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            match flag.as_str() {
                "--quick" => {
                    (options.rounds, options.length) = (1, Duration::from_millis(400));
                    (options.sessions, options.megabytes) = (1000, 50);
                }
                "--direct" => found.direct = true,
                _ => {
                    let value = arguments
                        .next()
                        .ok_or_else(|| wrong(&format!("{flag} is unknown or lacks a value")))?;
                    options.take(flag, value, &mut found)?;
                }
            }
        }
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).chain(PARTS).collect();
        if let Some(name) = options.only.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(wrong(&format!("--only {name}: there are {}", names.join(", "))));
        }
        options.contenders = found.contenders();
        Ok(options)
    }

    fn take(&mut self, flag: &str, value: &str, found: &mut Found) -> io::Result<()> {
        let number = || value.parse::<f64>().map_err(|_| wrong(&format!("{flag} {value}: not a number")));
        match flag {
            "--rounds" => self.rounds = number()? as usize,
            "--seconds" => self.length = Duration::from_secs_f64(number()?),
            "--sessions" => self.sessions = number()? as usize,
            "--megabytes" => self.megabytes = number()? as usize,
            "--workers" => self.workers = number()? as usize,
            "--port" => self.port = number()? as u16,
            "--only" => self.only.push(value.to_owned()),
            "--gateway" => found.gateway = PathBuf::from(value),
            "--nginx" => value.clone_into(&mut found.nginx),
            "--without" => found.without.push(value.to_owned()),
            "--contender" => {
                found.more.push(contender(value).ok_or_else(|| wrong(&format!("{flag} {value}")))?);
            }
            _ => return Err(wrong(&format!("{flag} is unknown"))),
        }
        Ok(())
    }

    /// Whether this workload or part is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Who may race.
struct Found {
    gateway: PathBuf,
    nginx: String,
    direct: bool,
    without: Vec<String>,
    more: Vec<(String, Recipe)>,
}

impl Found {
    fn contenders(self) -> Vec<(String, Recipe)> {
        let mut contenders = vec![(report::YARDSTICK.to_owned(), Recipe::Nginx(self.nginx))];
        if !self.gateway.exists() {
            eprintln!("no gateway at {}: build it with `cargo build --release`", self.gateway.display());
        }
        for runtime in ["tokio", "glommio"].into_iter().filter(|_| self.gateway.exists()) {
            for era in [Era::Legacy, Era::Modern] {
                let program = self.gateway.clone();
                let gateway = Gateway { program, runtime, era, workers: 1 };
                contenders.push((runtime.to_owned(), Recipe::Gateway(gateway)));
            }
        }
        if self.direct {
            contenders.push(("direct".to_owned(), Recipe::Direct));
        }
        contenders.extend(self.more);
        contenders.retain(|(name, _)| !self.without.contains(name));
        contenders
    }
}

/// `name=http://address/path,pid`
fn contender(text: &str) -> Option<(String, Recipe)> {
    let (name, rest) = text.split_once('=')?;
    let (url, pid) = rest.rsplit_once(',')?;
    let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
    let recipe = Recipe::Running(address.parse().ok()?, format!("/{path}"), pid.parse().ok()?);
    Some((name.to_owned(), recipe))
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("{what}\n{USAGE}"))
}
