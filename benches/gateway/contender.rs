//! Who races: how each is started, and where it listens.

use crate::load::Plain;
use crate::process::Process;
use crate::upstream::PORTS;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How to come by a contender.
#[derive(Clone, Debug)]
pub(crate) enum Recipe {
    /// No proxy at all: what the load generator and the fake target can do by themselves.
    Direct,
    /// nginx of this path.
    Nginx(String),
    Gateway(Gateway),
    /// Something that runs already: address, path and process.
    Running(SocketAddr, String, i32),
}

/// The gateway, and how it is started.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) program: PathBuf,
    pub(crate) runtime: &'static str,
    /// What the targets behind it speak.
    pub(crate) era: Era,
    pub(crate) workers: usize,
}

/// What targets speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

impl Recipe {
    /// The one era of targets it can show; `None` for all.
    pub(crate) fn era(&self) -> Option<Era> {
        match self {
            Self::Gateway(gateway) => Some(gateway.era),
            _ => None,
        }
    }
}

/// A contender that listens.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// `None` where nothing is measured.
    pub(crate) process: Option<Process>,
    /// Has three targets, where others may have one.
    pub(crate) is_gateway: bool,
}

impl Contender {
    /// Starts it before `targets`, with its files in `folder`, and waits until it serves.
    pub(crate) fn start(recipe: &Recipe, targets: &[SocketAddr; PORTS], folder: &Path) -> io::Result<Self> {
        let [a, b, c, whole] = *targets;
        let address = free_address()?;
        let (name, command) = match recipe {
            Recipe::Direct => {
                return Ok(Self {
                    address: whole,
                    path: "/mcp".to_owned(),
                    process: None,
                    is_gateway: false,
                });
            }
            Recipe::Running(address, path, pid) => {
                let process = Some(Process::running(*pid)?);
                let contender = Self { address: *address, path: path.clone(), process, is_gateway: false };
                return contender.ready().map(|()| contender);
            }
            Recipe::Nginx(program) => {
                let name = format!("nginx-{}", address.port());
                let config = folder.join(format!("{name}.conf"));
                fs::write(&config, nginx_config(&folder.display().to_string(), address, whole))?;
                let config = config.display().to_string();
                let prefix = folder.display().to_string();
                (name, vec![program.clone(), "-p".to_owned(), prefix, "-c".to_owned(), config])
            }
            Recipe::Gateway(gateway) => {
                let Gateway { program, runtime, workers, .. } = gateway;
                let name = format!("gateway-{runtime}-{}", address.port());
                let config = folder.join(format!("{name}.yaml"));
                fs::write(&config, gateway_config([a, b, c], gateway))?;
                let mut command = vec![program.display().to_string()];
                for (flag, value) in [
                    ("--config", config.display().to_string()),
                    ("--listen", address.to_string()),
                    ("--admin", free_address()?.to_string()),
                    ("--runtime", (*runtime).to_owned()),
                    ("--workers", workers.to_string()),
                ] {
                    command.extend([flag.to_owned(), value]);
                }
                (name, command)
            }
        };
        let log = folder.join(format!("{name}.log"));
        let process = Process::start(&command, &log)?;
        let is_gateway = matches!(recipe, Recipe::Gateway(_));
        let contender = Self { address, path: "/mcp".to_owned(), process: Some(process), is_gateway };
        contender.ready().map_err(|error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            io::Error::other(format!("{name} does not serve: {error}\n{log}"))
        })?;
        Ok(contender)
    }

    /// Waits until a client gets all tools.
    fn ready(&self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        let attempt = || {
            let mut client = Plain::connect(self.address, &self.path)?;
            let session = client.start_session()?;
            client.list()?;
            client.end_session(&session)
        };
        loop {
            match attempt() {
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// How many streams it has at the targets for so many sessions with one each.
    pub(crate) fn streams(&self, sessions: usize) -> RangeInclusive<usize> {
        let least = if self.is_gateway { 3 } else { 1 };
        sessions * least..=sessions * 3
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, Process::cpu)
    }

    pub(crate) fn resident(&self) -> u64 {
        self.process.as_ref().map_or(0, Process::resident)
    }

    pub(crate) fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    pub(crate) fn thaw(&self) {
        if let Some(process) = &self.process {
            process.thaw();
        }
    }
}

/// A loopback port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()
}

/// The fake target speaks both eras and is not asked which.
fn gateway_config(targets: [SocketAddr; 3], gateway: &Gateway) -> String {
    let protocol = if gateway.era == Era::Modern { "modern" } else { "legacy" };
    let named = ["a", "b", "c"].into_iter().zip(targets);
    let lines =
        named.map(|(name, at)| format!("  {name}: {{url: 'http://{at}/mcp', protocol: {protocol}}}\n"));
    format!("mcpServers:\n{}", lines.collect::<String>())
}

/// A plain reverse proxy: one worker, keep-alive both ways, bytes passed on as they come, nothing logged. The default
/// buffer of one page would cost it three times as much on 64 KB answers.
fn nginx_config(folder: &str, address: SocketAddr, target: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid {folder}/nginx-{port}.pid;
error_log stderr warn;
events {{ worker_connections 65536; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream mcp {{
        server {target};
        keepalive 128;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://mcp;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 4 64k;
            proxy_busy_buffers_size 64k;
            proxy_read_timeout 1h;
        }}
    }}
}}
",
        port = address.port()
    )
}
