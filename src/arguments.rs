//! The command line.

use crate::config::{self, ACCESS_LOG, Problem, Runtime, Server, Settings};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Every MCP client and every MCP server behind one URL.
///
/// Without --config and --target it serves two built-in demo servers.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

const EXAMPLES: &str = "\
Examples:
  mcp-gateway                                                      try it, with two demo servers
  mcp-gateway --target everything=http://127.0.0.1:3001/mcp        put a server behind it
  mcp-gateway --config gateway.yaml                                the same from a file, reloaded when it changes
  mcp-gateway check --config gateway.yaml                          only say what is wrong with the file
  mcp-gateway stdio --config gateway.yaml                          as a server that a client starts as a program

Exit codes: 0 stopped by a signal or by the end of its input, 1 could not start or serve, 2 wrong arguments or configuration,
78 --runtime glommio can't run here.";

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration, print what it would serve, and exit
    Check(Serve),
    /// Serve one client on standard input and output
    ///
    /// For clients that start their servers as programs. Logs go to standard error; there is one worker, and no
    /// address for other clients or for health and metrics unless --listen and --admin name one. It ends with its
    /// input.
    Stdio(Serve),
    /// Write a configuration as Kubernetes manifests, on standard output
    Export(Export),
    /// The parent of all child processes; started by the gateway alone
    #[command(hide = true)]
    Keeper,
}

/// What to write as manifests.
#[derive(Args, Clone, Debug)]
pub(crate) struct Export {
    /// YAML or JSON file, as for serving
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// How to serve. Flags win over the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// YAML or JSON file; its "mcpServers" map is the one every MCP client uses
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A server to put behind the gateway; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = target)]
    pub(crate) target: Vec<(String, String)>,
    /// Address for clients [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    listen: Option<SocketAddr>,
    /// Address for /healthz, /readyz and /metrics, or "off" [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS", value_parser = admin)]
    admin: Option<Admin>,
    /// What pumps the bytes [default: auto]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<Runtime>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Requests to log, on standard output or where that is the client's on standard error [default: errors]
    #[arg(long, value_name = "WHICH", value_parser = PossibleValuesParser::new(["off", "errors", "all"]))]
    access_log: Option<String>,
    /// What to log on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// Form of both logs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Serve this process' own client.
    #[arg(skip)]
    pub(crate) stdio: bool,
}

/// How much to log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// key=value
    Text,
    /// One object a line
    Json,
}

impl Serve {
    /// The settings in the file, with the flags on top.
    ///
    /// # Errors
    /// Everything that is wrong with either.
    pub(crate) fn settings(&self) -> config::Read {
        let (mut settings, notes) = match &self.config {
            Some(path) => config::read_file(path)?,
            None => Default::default(),
        };
        let Self { listen, admin, runtime, workers, access_log, .. } = self;
        settings.listen = listen.unwrap_or(settings.listen);
        settings.admin = admin.map_or(settings.admin, |Admin(address)| address);
        settings.runtime = runtime.unwrap_or(settings.runtime);
        settings.workers = workers.or(settings.workers);
        if self.stdio {
            // Many such gateways run side by side: none of them takes the file's addresses, or all cores.
            settings.admin = admin.and_then(|Admin(address)| address);
            settings.workers = workers.or(Some(1));
        }
        let which = access_log.as_ref().and_then(|word| ACCESS_LOG.iter().find(|(known, _)| known == word));
        settings.access_log = which.map_or(settings.access_log, |(_, which)| *which);
        self.add_targets(&mut settings)?;
        Ok((settings, notes))
    }

    /// The same for this process' own client.
    pub(crate) fn on_stdio(self) -> Self {
        Self { stdio: true, ..self }
    }

    /// Whether there is an address for clients.
    pub(crate) fn listens(&self) -> bool {
        !self.stdio || self.listen.is_some()
    }

    /// Whether nothing was said about what to serve.
    pub(crate) fn is_demo(&self) -> bool {
        self.config.is_none() && self.target.is_empty()
    }

    fn add_targets(&self, settings: &mut Settings) -> Result<(), Vec<Problem>> {
        let (mut problems, mut added) = (Vec::new(), Vec::<Server>::new());
        for (written, url) in &self.target {
            let server = Server::new(written, url, settings.target_timeouts).and_then(|server| {
                match added.iter().find(|other| other.target.name() == server.target.name()) {
                    Some(other) => {
                        Err(format!("is the same target \"{}\" as {:?}", server.target.name(), other.written))
                    }
                    None => Ok(server),
                }
            });
            match server {
                Ok(server) => added.push(server),
                Err(message) => problems.push(Problem {
                    source: "--target".to_owned(),
                    line: None,
                    key: written.clone(),
                    message,
                }),
            }
        }
        settings
            .servers
            .retain(|server| added.iter().all(|other| other.target.name() != server.target.name()));
        settings.servers.extend(added);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Admin(Option<SocketAddr>);

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, as in 127.0.0.1:8080".to_owned())
}

fn admin(text: &str) -> Result<Admin, String> {
    match text {
        "off" => Ok(Admin(None)),
        _ => text
            .parse()
            .map(|address| Admin(Some(address)))
            .map_err(|_| "expected ADDRESS:PORT or off".to_owned()),
    }
}

fn target(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.contains("://") => Ok((name.to_owned(), url.to_owned())),
        _ => Err("expected NAME=URL, as in everything=http://127.0.0.1:3001/mcp".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_win_over_defaults() {
        let arguments = Arguments::parse_from([
            "mcp-gateway",
            "--listen=0.0.0.0:1",
            "--admin=off",
            "--runtime=tokio",
            "--workers=3",
            "--access-log=all",
            "--target=Brave_Search=http://a/x=y",
        ]);
        let (settings, notes) = arguments.serve.settings().unwrap();
        let expected = Settings {
            listen: "0.0.0.0:1".parse().unwrap(),
            admin: None,
            runtime: Runtime::Tokio,
            workers: Some(3),
            access_log: mcp_proto::AccessLog::All,
            servers: vec![Server::new("Brave_Search", "http://a/x=y", routing::Timeouts::default()).unwrap()],
            ..Settings::default()
        };
        assert_eq!((settings, notes), (expected, vec![]));
    }

    #[test]
    fn on_stdio_only_flags_open_ports() {
        let settings = |arguments: &[&str]| {
            let arguments = Arguments::parse_from([&["mcp-gateway"], arguments].concat());
            let serve = arguments.serve.on_stdio();
            let (settings, _) = serve.settings().unwrap();
            (serve.listens(), settings.admin, settings.workers)
        };
        let admin = "127.0.0.1:9".parse().unwrap();
        assert_eq!(settings(&[]), (false, None, Some(1)));
        assert_eq!(
            settings(&["--listen=127.0.0.1:8", "--admin=127.0.0.1:9", "--workers=2"]),
            (true, Some(admin), Some(2))
        );
    }

    #[test]
    fn two_flags_for_one_target_are_refused() {
        let arguments = Arguments::parse_from([
            "mcp-gateway",
            "--target=a=http://x/",
            "--target=A=http://y/",
            "--target=b=z",
        ]);
        let problems: Vec<String> =
            arguments.serve.settings().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "--target: A: is the same target \"a\" as \"a\"",
                "--target: b: expected a URL such as \"http://127.0.0.1:3001/mcp\", found \"z\"",
            ]
        );
    }
}
