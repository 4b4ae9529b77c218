//! The `mcp-gateway` command. It wires: arguments and file to settings, settings to workers, and then keeps the
//! snapshot they serve up to date from one control thread, this one. It decides nothing about the protocol.
//!
//! ```text
//! arguments, config ─► workers (runtime-tokio | runtime-glommio, one shard each)
//!                         ▲ mail: Routes, Drain      │ records, counters │ children
//!                      control ◄─ resolve            ▼                   ▼
//!                        access_log, admin (/healthz /readyz /metrics)   keeper, a process of its own
//! ```

mod access_log;
mod admin;
mod arguments;
mod check;
mod children;
mod config;
mod console;
mod control;
mod demo;
mod export;
mod greeting;
mod kubernetes;
mod listeners;
mod observed;
mod resolve;
mod source;
mod workers;

use admin::Status;
use arguments::{Arguments, Command, LogFormat, LogLevel, Serve};
use children::Keeping;
use clap::Parser;
use config::{Problem, Settings};
use console::Console;
use control::{Control, Stop};
use kubernetes::Kubernetes;
use observed::Observations;
use resolve::PATIENCE;
use routing::Routes;
use source::{Source, World};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use workers::{Frontend, Workers};

/// Wrong arguments or configuration; clap's own errors use it too.
const EXIT_USAGE: u8 = 2;
/// EX_CONFIG of sysexits.h: this machine can't run what the configuration asks for.
const EXIT_UNUSABLE: u8 = 78;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Some(Command::Check(serve)) => check::check(serve),
        Some(Command::Export(from)) => export::run(from),
        Some(Command::Controller(flags)) => kubernetes::controller::run(flags),
        Some(Command::Kubernetes(cluster)) => serve(&cluster.clone().serve()),
        Some(Command::Keeper) => Ok(children::keeper::run()),
        Some(Command::Stdio(arguments)) => serve(&arguments.clone().on_stdio()),
        None => serve(&arguments.serve),
    };
    match result {
        Ok(code) => code,
        Err(Failure { code, messages }) => {
            for message in messages {
                say(io::stderr(), &format!("error: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

/// Why the command ends early.
struct Failure {
    code: u8,
    messages: Vec<String>,
}

impl Failure {
    fn new(code: u8, message: impl Display) -> Self {
        Self { code, messages: vec![message.to_string()] }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self { code: EXIT_USAGE, messages: problems.iter().map(Problem::to_string).collect() }
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/mcp")
}

fn serve(arguments: &Serve) -> Result<ExitCode, Failure> {
    start_log(arguments.common.log_level, arguments.common.log_format);
    let (settings, notes) = arguments.settings()?;
    for note in notes {
        tracing::warn!(note, "configuration");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(1, format!("can't start the control thread: {error}")))?;
    let result = runtime.block_on(run(arguments, settings));
    // A name server that never answers must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn run(arguments: &Serve, mut settings: Settings) -> Result<ExitCode, Failure> {
    let refused = |error: io::Error| Failure::new(1, format!("can't listen for signals: {error}"));
    let (mut stop, hangup) = (Stop::new().map_err(refused)?, signal(SignalKind::hangup()).map_err(refused)?);
    let frontend = Frontend::choose(settings.runtime).map_err(|reason| {
        Failure::new(EXIT_UNUSABLE, format!("--runtime glommio can't run here: {reason}"))
    })?;
    let bound = listen(arguments, &settings)?;
    let admin = bind_admin(settings.admin).await?;
    if arguments.is_demo() {
        settings.servers = demo::start()
            .await
            .map_err(|error| Failure::new(1, format!("can't start the demo servers: {error}")))?;
    }

    let (mut source, mut world) = (source(arguments, &settings).await?, World::default());
    let routes = source.routes(&mut world, &Routes::default(), PATIENCE).await;
    let routes = Arc::new(routes.map_err(|error| Failure::new(EXIT_USAGE, error))?);
    let to: Box<dyn Write + Send> =
        if arguments.stdio { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let (records, log) = access_log::start(arguments.common.log_format, to)
        .map_err(|error| Failure::new(1, format!("can't start the access log: {error}")))?;
    let config = Arc::new(workers::config(&settings));
    let keeping = Keeping::start(children::keeper::command);
    let (console, socket) = open_console(arguments, &mut stop)?;
    let (observed, observations) = Observations::start();
    let workers =
        Workers::start(frontend, config, &routes, socket, keeping.children(), records, observations)
            .map_err(|error| {
                Failure::new(1, format!("can't start a worker on {}: {error}", frontend.name()))
            })?;
    let address = bound.as_ref().map(|(_, address)| *address);
    if let Some((listeners, address)) = bound {
        workers.listen(address, listeners).await;
    }

    let vitals = if let Source::Kubernetes(kubernetes) = &source { kubernetes.vitals() } else { None };
    let status = Arc::new(Status::new(workers, frontend.name(), vitals, observed));
    let control = Control::new(arguments.clone(), settings, (source, world), routes, status.clone()).await;
    announce(arguments, &control, address, admin.as_ref());
    if let Some(admin) = admin {
        let router = admin::router(status.clone());
        tokio::spawn(async move { axum::serve(admin, router).await });
    }
    if let Some(address) = address.filter(|_| arguments.is_demo() && !arguments.stdio) {
        tokio::spawn(async move { say(io::stdout(), &greeting::greeting(address).await) });
    }
    if !control.run(stop, hangup).await {
        return Ok(ExitCode::FAILURE);
    }
    keeping.end().await;
    if status.workers.are_gone() {
        // And with them the senders of records: the log ends when it has written the last one.
        _ = log.join();
        if let Some(console) = console {
            console.flushed().await;
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What says what is served.
async fn source(arguments: &Serve, settings: &Settings) -> Result<Source, Failure> {
    if let Some(follow) = &arguments.cluster {
        let [one, two, three, four, ..] = workers::entropy();
        let kubernetes = Kubernetes::from_cluster(follow, [one, two, three, four]).await;
        return Ok(Source::Kubernetes(Box::new(kubernetes.map_err(|error| Failure::new(1, error))?)));
    }
    Ok(match &settings.manifests {
        Some(objects) => {
            let (bind, services) = (settings.listen.ip(), arguments.services());
            Source::Kubernetes(Box::new(Kubernetes::from_files(objects.clone(), bind, services)))
        }
        None => Source::Servers(settings.servers.clone()),
    })
}

/// What serves this process' own client, if it is to, and the socket its worker gets.
fn open_console(
    arguments: &Serve,
    stop: &mut Stop,
) -> Result<(Option<Console>, Option<UnixStream>), Failure> {
    if !arguments.stdio {
        return Ok((None, None));
    }
    let (console, socket, ended) = Console::open()
        .map_err(|error| Failure::new(1, format!("can't serve standard input and output: {error}")))?;
    stop.with_input(ended);
    Ok((Some(console), Some(socket)))
}

/// A socket for each worker, if there is to be one, and their address.
fn listen(
    arguments: &Serve,
    settings: &Settings,
) -> Result<Option<(Vec<std::net::TcpListener>, SocketAddr)>, Failure> {
    if !arguments.listens(settings) {
        return Ok(None);
    }
    let bound = listeners::bind(settings.listen, workers::count(settings).into());
    bound.map(Some).map_err(|error| Failure::new(1, listeners::explain(&error, settings.listen, "--listen")))
}

async fn bind_admin(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|error| {
        Failure::new(1, listeners::explain(&error, address, "--admin (\"off\" to have none)"))
    })
}

fn announce(arguments: &Serve, control: &Control, address: Option<SocketAddr>, admin: Option<&TcpListener>) {
    let (settings, status) = (control.settings(), control.status());
    let url = match (control.source(), address) {
        (Source::Kubernetes(_), _) => {
            let urls: Vec<String> =
                control.routes().addresses().map(|address| format!("http://{address}")).collect();
            if urls.is_empty() { "where Gateways will say".to_owned() } else { urls.join(", ") }
        }
        (_, Some(address)) => url(address),
        (_, None) => "standard input and output".to_owned(),
    };
    let admin = admin.and_then(|admin| admin.local_addr().ok()).map(tracing::field::display);
    let (workers, targets) = (status.workers.count(), control.routes().all_targets().count());
    tracing::info!(url, admin, runtime = status.runtime, workers, targets, "serving");
    if let Some(address) = address.filter(|address| !address.ip().is_loopback())
        && settings.allowed_hosts.is_empty()
    {
        tracing::warn!(
            %address,
            "reachable from other machines, but requests must be addressed to a loopback name; list the names \
             clients use in allowedHosts"
        );
    }
    if targets == 0 && arguments.cluster.is_none() {
        tracing::warn!("no target is configured, clients will find no tools");
    }
}

fn start_log(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What fails between us and a cluster is told by who asked, once and in other words.
    let client = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    let levels = Targets::new().with_default(level).with_target("kube_client", client);
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(levels);
    match format {
        LogFormat::Text => registry.with(log.with_ansi(io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(log.json().flatten_event(true)).init(),
    }
}

/// Prints `text`. Nobody reading it is no reason to stop.
fn say(mut to: impl Write, text: &str) {
    _ = writeln!(to, "{text}");
}
