//! `mcp-gateway check`: what a configuration would serve, in words.

use crate::arguments::Serve;
use crate::config::{Settings, show_duration};
use crate::resolve::PATIENCE;
use crate::source::{Source, World};
use crate::{EXIT_USAGE, Failure, say, source, url, workers};
use routing::Routes;
use std::io;
use std::process::ExitCode;

/// Prints what the configuration would serve.
pub(crate) fn check(arguments: &Serve) -> Result<ExitCode, Failure> {
    let (settings, notes) = arguments.settings()?;
    let mut text = String::new();
    for note in notes {
        text += &format!("note: {note}\n");
    }
    let (before, behind) = match look(arguments, &settings)? {
        Source::Servers(_) => (format!("endpoint   {}\n", url(settings.listen)), targets(&settings)),
        Source::Kubernetes(kubernetes) => {
            for note in kubernetes.notes() {
                text += &format!("note: {note}\n");
            }
            (String::new(), kubernetes.describe())
        }
    };
    text += &before;
    text += &describe(&settings);
    text += &behind;
    say(io::stdout(), text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The source, and what it makes of manifests, with names of hosts looked up.
fn look(arguments: &Serve, settings: &Settings) -> Result<Source, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(1, format!("can't look up names: {error}")))?;
    let source = runtime.block_on(async {
        let mut source = source(arguments, settings).await?;
        if let Source::Kubernetes(_) = &source {
            let made = source.routes(&mut World::default(), &Routes::default(), PATIENCE).await;
            made.map_err(|error| Failure::new(EXIT_USAGE, error))?;
        }
        Ok(source)
    });
    runtime.shutdown_background();
    source
}

fn describe(settings: &Settings) -> String {
    let admin = settings.admin.map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
    format!(
        "admin      {admin}\nruntime    {:?}\nworkers    {}\nshutdown   {}\n",
        settings.runtime,
        workers::count(settings),
        show_duration(settings.shutdown),
    )
    .to_lowercase()
}

fn targets(settings: &Settings) -> String {
    let mut text = format!("targets    {}\n", settings.servers.len());
    for server in &settings.servers {
        let target = &server.target;
        // Arguments are not shown: they often hold secrets.
        let place = match &target.process {
            Some(process) => process.command.clone(),
            None => format!("http://{}{}", target.authority, target.path),
        };
        text += &format!("  {:<20} {place}\n", target.name().as_str());
    }
    text
}
