//! The command line.

use crate::config::{self, ACCESS_LOG, Problem, Runtime, Server, Settings};
use crate::kubernetes::Follow;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
  mcp-gateway --config manifests/ --resolve mcp-server=127.0.0.1   Kubernetes manifests, without a cluster
  mcp-gateway kubernetes                                           what the Gateways of a cluster say
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
    /// Serve what the Gateways, HTTPRoutes and Backends of a Kubernetes cluster say
    ///
    /// Follows the cluster, listens where its Gateways do, and writes their status. A cluster that can't be reached
    /// changes nothing of what is served.
    Kubernetes(Box<Cluster>),
    /// Keep a proxy for each Gateway of a Kubernetes cluster
    ///
    /// For each Gateway of our GatewayClasses a Deployment of `mcp-gateway kubernetes`, a Service, a ServiceAccount and a
    /// Secret, named like the Gateway; and the status of all objects. It serves no client itself.
    Controller(Box<Controller>),
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
    /// YAML or JSON file, whose "mcpServers" map is the one every MCP client uses; or Kubernetes manifests, in a file or
    /// in a folder of them
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// A server to put behind the gateway; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = target)]
    pub(crate) target: Vec<(String, String)>,
    /// Address for clients; of Kubernetes manifests, whose Gateways have ports, only the IP address counts
    /// [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    listen: Option<SocketAddr>,
    /// Where a Service of Kubernetes manifests really is; may be repeated. Without port: the Service's target ports
    #[arg(long, value_name = "[NAMESPACE/]SERVICE=HOST[:PORT]", value_parser = resolve)]
    pub(crate) resolve: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Serve this process' own client.
    #[arg(skip)]
    pub(crate) stdio: bool,
    /// Serve what a cluster says.
    #[arg(skip)]
    pub(crate) cluster: Option<Box<Follow>>,
}

/// How to serve what a cluster says.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    common: Common,
}

/// How to keep proxies.
#[derive(Args, Clone, Debug)]
pub(crate) struct Controller {
    #[command(flatten)]
    pub(crate) follow: Follow,
    /// JSON file that says what proxies are like: "image", and if it matters "replicas", "serviceType", "resources", …
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy: PathBuf,
    /// Address for /healthz, /readyz and /metrics, or "off" [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS", value_parser = admin)]
    admin: Option<Admin>,
    /// What to log on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// Form of the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

impl Controller {
    /// Where health and metrics are served, if at all.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.admin.map_or_else(|| Settings::default().admin, |Admin(address)| address)
    }
}

/// Flags of all ways to serve.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// YAML or JSON file with settings, for where targets come from Kubernetes: limits, timeouts, sessionKey, …
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// File with the keys that seal session ids, newest first, one a line; replicas share them
    #[arg(long, value_name = "FILE")]
    session_key_file: Option<PathBuf>,
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
    /// The settings in the files, with the flags on top.
    ///
    /// # Errors
    /// Everything that is wrong with either.
    pub(crate) fn settings(&self) -> config::Read {
        let (mut settings, mut notes) = match &self.config {
            Some(path) => config::load(path)?,
            None => Default::default(),
        };
        if let Some(path) = &self.common.settings {
            let (read, more) = config::read_file(path)?;
            settings = Settings { manifests: settings.manifests, ..read };
            notes.extend(more);
        }
        let Common { session_key_file, admin, runtime, workers, access_log, .. } = &self.common;
        if let Some(path) = session_key_file {
            settings.session_keys = config::read_keys(path).map_err(|message| {
                vec![Problem::of_flag("--session-key-file", format!("{}: {message}", path.display()))]
            })?;
        }
        settings.listen = self.listen.unwrap_or(settings.listen);
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
        let problems = self.contradictions(&settings);
        if problems.is_empty() { Ok((settings, notes)) } else { Err(problems) }
    }

    /// The same for this process' own client.
    pub(crate) fn on_stdio(self) -> Self {
        Self { stdio: true, ..self }
    }

    /// Whether clients connect at an address that was said, and not where Gateways say.
    pub(crate) fn listens(&self, settings: &Settings) -> bool {
        let gateways = settings.manifests.is_some() || self.cluster.is_some();
        !gateways && (!self.stdio || self.listen.is_some())
    }

    /// Whether nothing was said about what to serve.
    pub(crate) fn is_demo(&self) -> bool {
        self.config.is_none() && self.target.is_empty() && self.cluster.is_none()
    }

    /// The files that say what to serve and how.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.config.iter().chain(&self.common.settings).map(PathBuf::as_path)
    }

    /// What was said of Services of manifests.
    pub(crate) fn services(&self) -> BTreeMap<String, String> {
        self.resolve.iter().cloned().collect()
    }

    /// Flags and files that mean nothing together.
    fn contradictions(&self, settings: &Settings) -> Vec<Problem> {
        let kubernetes = settings.manifests.is_some() || self.cluster.is_some();
        let settings_alone = self.common.settings.is_some() && self.config.is_some() && !kubernetes;
        let contradictions = [
            (settings_alone, "--settings", "is for Kubernetes manifests; --config has settings of its own"),
            (
                kubernetes && !settings.servers.is_empty(),
                "mcpServers, --target",
                "targets are Backends where Kubernetes objects say what is served",
            ),
            (
                !self.resolve.is_empty() && settings.manifests.is_none(),
                "--resolve",
                "is for Services of Kubernetes manifests, of which --config names none",
            ),
            (
                self.stdio && settings.manifests.is_some(),
                "stdio",
                "Kubernetes manifests say at which ports to serve, standard input is none of them",
            ),
        ];
        let said = contradictions.into_iter().filter(|(holds, ..)| *holds);
        said.map(|(_, flag, message)| Problem::of_flag(flag, message.to_owned())).collect()
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

impl Cluster {
    /// As if all had been said by flags of the plain command.
    pub(crate) fn serve(self) -> Serve {
        Serve {
            config: None,
            target: Vec::new(),
            listen: None,
            resolve: Vec::new(),
            common: self.common,
            stdio: false,
            cluster: Some(Box::new(self.follow)),
        }
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

fn resolve(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((service, host)) if !service.is_empty() && !host.is_empty() => {
            Ok((service.to_owned(), host.to_owned()))
        }
        _ => Err("expected SERVICE=HOST, as in mcp-server=127.0.0.1".to_owned()),
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
            (serve.listens(&settings), settings.admin, settings.workers)
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
