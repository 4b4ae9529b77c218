//! The official Rust client, asked from a plain thread.

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::{Value, json};
use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between calls of a client that never stops: the machine is the servers', too.
const PAUSE: Duration = Duration::from_millis(5);

/// A client with one session.
pub(super) struct Client {
    runtime: Runtime,
    service: RunningService<RoleClient, ()>,
}

impl Client {
    pub(super) fn connect(url: &str) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        // It starts to work where it is made.
        let serve = async { ().serve(StreamableHttpClientTransport::from_uri(url)).await };
        let service = wait(&runtime, serve)?;
        Ok(Self { runtime, service })
    }

    /// The names of all tools.
    pub(super) fn tools(&self) -> Result<Vec<String>, String> {
        let tools = wait(&self.runtime, self.service.list_all_tools())?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    /// Calls a tool and gives the text that it answers.
    pub(super) fn call(&self, tool: &str, arguments: &Value) -> Result<String, String> {
        let params: CallToolRequestParams =
            serde_json::from_value(json!({"name": tool, "arguments": arguments})).expect("parameters");
        let result = json!(wait(&self.runtime, self.service.call_tool(params))?);
        let text = result.pointer("/content/0/text").and_then(Value::as_str);
        match text {
            Some(text) if result.get("isError") != Some(&json!(true)) => Ok(text.to_owned()),
            _ => Err(result.to_string()),
        }
    }

    /// The address of the pod that `tool`, a `get-env`, is answered by.
    pub(super) fn host(&self, tool: &str) -> Result<String, String> {
        let text = self.call(tool, &json!({}))?;
        let variables: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let host = variables.get("HOST").and_then(Value::as_str);
        host.map(str::to_owned).ok_or_else(|| "a server that is not in a pod".to_owned())
    }

    /// Ends the session.
    fn leave(self) {
        let _ = self.runtime.block_on(self.service.cancel());
    }
}

fn wait<T, E: Display>(runtime: &Runtime, what: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    // The timer begins within the runtime.
    let answered = runtime.block_on(async { timeout(PATIENCE, what).await });
    answered.map_err(|_| "nothing came".to_owned())?.map_err(|error| error.to_string())
}

/// The tools that a client sees which comes now.
pub(super) fn tools(url: &str) -> Result<Vec<String>, String> {
    let client = Client::connect(url)?;
    let tools = client.tools();
    client.leave();
    tools
}

/// The pod that a client is sent to which comes now.
pub(super) fn host(url: &str, tool: &str) -> Result<String, String> {
    let client = Client::connect(url)?;
    let host = client.host(tool);
    client.leave();
    host
}

/// A client that never stops calling one target, on one session, from a thread of its own.
pub(super) struct Caller {
    diary: Arc<Mutex<Diary>>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it went through.
#[derive(Clone, Debug, Default)]
pub(super) struct Diary {
    pub(super) calls: u64,
    /// Calls that failed: which, and how.
    pub(super) failed: Vec<String>,
    pub(super) longest: Duration,
    /// The pod that answered last.
    pub(super) host: String,
}

impl Caller {
    /// Begins to call the tools of the reference server behind `target`.
    pub(super) fn start(url: &str, target: &str) -> Self {
        let (diary, enough) = <(Arc<Mutex<Diary>>, Arc<AtomicBool>)>::default();
        let client = Client::connect(url).expect("the gateway is there");
        let (echo, env) = (format!("{target}_echo"), format!("{target}_get-env"));
        let (written, told) = (Arc::clone(&diary), Arc::clone(&enough));
        let thread = thread::spawn(move || {
            while !told.load(Relaxed) {
                let number = lock(&written).calls;
                let call = || client.call(&echo, &json!({"message": number.to_string()}));
                if let Some(text) = note(&written, call)
                    && text != format!("Echo: {number}")
                {
                    lock(&written).failed.push(format!("call {number}: {text}"));
                }
                if let Some(host) = note(&written, || client.host(&env)) {
                    lock(&written).host = host;
                }
                thread::sleep(PAUSE);
            }
            client.leave();
        });
        Self { diary, enough, thread: Some(thread) }
    }

    /// What it went through so far.
    pub(super) fn diary(&self) -> Diary {
        lock(&self.diary).clone()
    }

    /// Lets it end its last call, and gives what it went through.
    pub(super) fn stop(mut self) -> Diary {
        self.enough.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join).transpose().expect("it doesn't panic");
        self.diary()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Of a test that failed.
        self.enough.store(true, Relaxed);
    }
}

/// Makes a call and writes down how it went.
fn note(diary: &Mutex<Diary>, call: impl FnOnce() -> Result<String, String>) -> Option<String> {
    let begun = Instant::now();
    let answer = call();
    let mut diary = lock(diary);
    diary.longest = diary.longest.max(begun.elapsed());
    let number = diary.calls;
    diary.calls += 1;
    match answer {
        Ok(text) => Some(text),
        Err(why) => {
            diary.failed.push(format!("call {number}: {why}"));
            None
        }
    }
}

fn lock(diary: &Mutex<Diary>) -> MutexGuard<'_, Diary> {
    diary.lock().expect("nobody panics with it")
}
