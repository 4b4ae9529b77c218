//! The cells of the official Rust client, run here rather than by a program of their own. They answer with the same
//! lines as the others, from the same table of checks.

#![expect(clippy::indexing_slicing, reason = "JSON gives null for what it doesn't have")]
#![expect(deprecated, reason = "what 2026-07-28 deprecates must work for old and new clients alike")]

use ::rmcp::model::{
    ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
    ElicitResult, ErrorData, Implementation, ListRootsResult, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProtocolVersion, ResourceUpdatedNotificationParam, SubscriptionFilter,
};
use ::rmcp::service::{
    ClientLifecycleMode, NotificationContext, RequestContext, RoleClient, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use ::rmcp::transport::StreamableHttpClientTransport;
use ::rmcp::{ClientHandler, Peer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const TABLES: &str = include_str!("../parts/clients/checks.json");
/// Generous, since a server may have to start first, and two cores have much to do: only failures wait so long.
const ONE: Duration = Duration::from_secs(60);
/// A cell where nothing comes any more isn't waited for check by check.
const PATIENCE: usize = 2;

/// How the client comes to its session, or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Legacy,
    Discover,
}

/// Runs the checks of `table` at `url` and gives a line for each, as the other drivers print them.
pub(crate) async fn lines(mode: Mode, url: &str, table: &str) -> Vec<String> {
    let tables: Value = serde_json::from_str(TABLES).expect("the table of checks is JSON");
    let heard = Heard { answers: tables["answers"].clone(), said: Arc::default() };
    let client = match timeout(2 * ONE, connect(mode, url, heard.clone())).await {
        Ok(Ok(client)) => Cell { client, heard, mode },
        Ok(Err(error)) => return vec![format!("FAIL connect: {error}")],
        Err(_) => return vec!["FAIL connect: nothing came".to_owned()],
    };
    let mut lines = vec![format!("era {}", client.era())];
    for check in tables[table].as_array().expect("a table is a list") {
        let name = check["name"].as_str().expect("checks have names");
        let here = check["eras"].as_array().is_none_or(|eras| eras.contains(&json!(client.era())));
        if !here || check["do"] == "ping" {
            continue;
        }
        if lines.iter().filter(|line| line.ends_with("nothing came")).count() == PATIENCE {
            lines.push("FAIL rest: given up".to_owned());
            break;
        }
        let verdict = timeout(ONE, client.check(check, url)).await;
        lines.push(match verdict.unwrap_or_else(|_| Err("nothing came".to_owned())) {
            Ok(()) => format!("ok {name}"),
            Err(why) => format!("FAIL {name}: {why}").replace('\n', " "),
        });
    }
    // Dropped it would leave its session behind.
    let _ = client.client.cancel().await;
    lines
}

async fn connect(mode: Mode, url: &str, heard: Heard) -> Result<RunningService<RoleClient, Heard>, String> {
    let transport = StreamableHttpClientTransport::from_uri(url);
    let lifecycle = match mode {
        Mode::Legacy => ClientLifecycleMode::Initialize,
        Mode::Discover => {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
        }
    };
    serve_client_with_lifecycle(heard, transport, lifecycle).await.map_err(|error| error.to_string())
}

/// The client's own side: what it answers, and what it was told.
#[derive(Clone)]
struct Heard {
    answers: Value,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Heard {
    fn note(&self, kind: &str, what: &Value) {
        self.said.lock().expect("nobody panics with it").push(json!({ "kind": kind, "what": what }));
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        let said = self.said.lock().expect("nobody panics with it");
        said.iter().filter(|one| one["kind"] == kind).map(|one| one["what"].clone()).collect()
    }

    fn forget(&self) {
        self.said.lock().expect("nobody panics with it").clear();
    }

    /// Waits until something of this kind was said.
    async fn wait(&self, kind: &str) -> Result<(), String> {
        if self.first(kind, 1).await.is_empty() { Err(format!("no {kind} came")) } else { Ok(()) }
    }

    /// All of this kind, once there are so many, or after a while. What is read together with an answer comes by a longer
    /// way than the answer: the SDK gives it to a task of its own.
    async fn first(&self, kind: &str, count: usize) -> Vec<Value> {
        for _ in 0..3000 {
            if self.all(kind).len() >= count {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.all(kind)
    }
}

impl ClientHandler for Heard {
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let asked = json!(params);
        let content = &asked["messages"][0]["content"];
        let text = content["text"].as_str().or_else(|| content[0]["text"].as_str()).unwrap_or_default();
        Ok(typed(json!({
            "role": "assistant",
            "model": "none",
            "content": { "type": "text", "text": format!("sampled: {text}") },
        })))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(typed(json!({ "roots": [{ "uri": "file:///first", "name": "first" }] })))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let asked = json!(request);
        let fields = asked["requestedSchema"]["properties"].as_object().cloned().unwrap_or_default();
        let answers = self.answers.as_object().expect("answers go by name").clone();
        let content: serde_json::Map<_, _> =
            answers.into_iter().filter(|(name, _)| fields.contains_key(name)).collect();
        Ok(typed(json!({ "action": "accept", "content": content })))
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.note("progress", &json!([params.progress, params.total]));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.note("log", &json!(params.data));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.note(&params.uri, &json!(null));
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.note("tools", &json!(null));
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.note("prompts", &json!(null));
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.note("resources", &json!(null));
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities =
            typed(json!({ "sampling": {}, "elicitation": {}, "roots": {} }));
        ClientConfig::new(capabilities, Implementation::new("matrix", "1.0.0"))
    }
}

/// A client at work. What comes back is looked at as JSON, so that one table serves all SDKs.
struct Cell {
    client: RunningService<RoleClient, Heard>,
    heard: Heard,
    mode: Mode,
}

impl Cell {
    fn era(&self) -> &'static str {
        match self.mode {
            Mode::Legacy => "legacy",
            Mode::Discover => "modern",
        }
    }

    async fn check(&self, check: &Value, cell: &str) -> Result<(), String> {
        match self.run(check, cell).await {
            Ok(_) if check.get("code").is_some() => Err("no error came".to_owned()),
            Ok(result) => holds(check, &result),
            Err(ServiceError::McpError(error)) if self.may_be_told(&check["code"], error.code.0) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What old clients may be told as well comes after what all are told.
    fn may_be_told(&self, expected: &Value, code: i32) -> bool {
        let codes = expected.as_array().cloned().unwrap_or_else(|| vec![expected.clone()]);
        let count = if self.mode == Mode::Legacy { codes.len() } else { 1 };
        codes.iter().take(count).any(|one| *one == code)
    }

    /// Does what the check says and gives what there is to be looked at.
    async fn run(&self, check: &Value, cell: &str) -> Result<Value, ServiceError> {
        let peer = self.client.peer();
        let mut arguments = check.get("arguments").cloned().unwrap_or_else(|| json!({}));
        if check["key"] == true {
            arguments["key"] = json!(format!("{cell} {:?}", self.mode));
        }
        self.heard.forget();
        match check["do"].as_str().expect("checks do something") {
            "list" if check.get("cursor").is_some() => peer
                .list_tools(Some(typed(json!({ "cursor": check["cursor"] }))))
                .await
                .map(|page| json!(page)),
            "list" => listed(peer, check["what"].as_str().unwrap_or_default()).await,
            "schema" => {
                let tools = json!(peer.list_all_tools().await?);
                let tool = tools.as_array().into_iter().flatten().find(|tool| tool["name"] == check["tool"]);
                let keys = tool.and_then(|tool| tool["inputSchema"].as_object()).map(|schema| schema.keys());
                Ok(json!({ "names": keys.into_iter().flatten().collect::<Vec<_>>() }))
            }
            "call" => {
                let mut result = self.call(&check["tool"], &arguments).await?;
                let steps = check["progress"].as_array().map_or(0, Vec::len);
                result["progress"] = json!(self.heard.first("progress", steps).await);
                Ok(result)
            }
            "cancel" => {
                let call = self.call(&check["tool"], &arguments);
                // Dropped as soon as it has begun, which cancels it.
                tokio::select! {
                    result = call => return result,
                    _ = self.heard.wait("progress") => {}
                }
                let then = &check["then"];
                let given = then.get("arguments").unwrap_or(&arguments);
                let result = self.call(&then["tool"], given).await?;
                Ok(json!({ "content": result["content"], "then": then["text"] }))
            }
            "log" => {
                if matches!(self.mode, Mode::Legacy) {
                    peer.set_level(typed(json!({ "level": "info" }))).await?;
                }
                let params = json!({
                    "name": check["tool"],
                    "_meta": { "io.modelcontextprotocol/logLevel": "info" },
                });
                let result = self.client.call_tool(typed(params)).await?;
                let lines = check["logs"].as_array().map_or(0, Vec::len);
                Ok(json!({ "content": result.content, "logs": self.heard.first("log", lines).await }))
            }
            "get" => {
                let params = json!({ "name": check["prompt"], "arguments": arguments });
                let messages = json!(self.client.get_prompt(typed(params)).await?.messages);
                let contents = messages.as_array().into_iter().flatten().map(|message| &message["content"]);
                Ok(json!({ "content": contents.collect::<Vec<_>>() }))
            }
            "read" => {
                let result = json!(self.client.read_resource(typed(json!({ "uri": check["uri"] }))).await?);
                Ok(
                    json!({ "content": result["contents"], "blob": result["contents"][0].get("blob").is_some() }),
                )
            }
            "complete" => {
                let reference = match check.get("prompt") {
                    Some(name) => json!({ "type": "ref/prompt", "name": name }),
                    None => json!({ "type": "ref/resource", "uri": check["template"] }),
                };
                let mut params = json!({
                    "ref": reference,
                    "argument": { "name": check["argument"][0], "value": check["argument"][1] },
                });
                if let Some(context) = check.get("context") {
                    params["context"] = json!({ "arguments": context });
                }
                let result = json!(peer.complete(typed(params)).await?);
                Ok(json!({ "values": result["completion"]["values"] }))
            }
            "update" => self.update(check, &arguments).await,
            "changed" => {
                let what = check["what"].as_str().unwrap_or_default();
                let filter = typed(json!({ format!("{what}ListChanged"): true }));
                self.told(filter, what, &check["tool"], &arguments).await
            }
            other => panic!("no check does {other}"),
        }
    }

    async fn call(&self, tool: &Value, arguments: &Value) -> Result<Value, ServiceError> {
        let params = typed(json!({ "name": tool, "arguments": arguments }));
        self.client.call_tool(params).await.map(|result| json!(result))
    }

    async fn update(&self, check: &Value, arguments: &Value) -> Result<Value, ServiceError> {
        let uri = check["uri"].as_str().unwrap_or_default();
        let twice = check["twice"] == true;
        let arguments = if twice { arguments.clone() } else { json!({ "uri": uri }) };
        if matches!(self.mode, Mode::Legacy) {
            self.client.peer().subscribe(typed(json!({ "uri": uri }))).await?;
        }
        let filter = typed(json!({ "resourceSubscriptions": [uri] }));
        let told = self.told(filter, uri, &check["tool"], &arguments).await?;
        if twice {
            self.call(&check["tool"], &arguments).await?;
        }
        if matches!(self.mode, Mode::Legacy) {
            self.client.peer().unsubscribe(typed(json!({ "uri": uri }))).await?;
        }
        Ok(told)
    }

    /// Calls a tool that makes the server tell of a change, and waits for that.
    async fn told(
        &self,
        filter: SubscriptionFilter,
        kind: &str,
        tool: &Value,
        arguments: &Value,
    ) -> Result<Value, ServiceError> {
        if matches!(self.mode, Mode::Discover) {
            let mut subscription = self.client.peer().listen(filter).await?;
            self.call(tool, arguments).await?;
            let notice = subscription.next().await?;
            subscription.cancel().await?;
            return Ok(json!({ "told": notice.is_some() }));
        }
        self.call(tool, arguments).await?;
        Ok(json!({ "told": self.heard.wait(kind).await.is_ok() }))
    }
}

/// The names on all pages of a list.
async fn listed(peer: &Peer<RoleClient>, what: &str) -> Result<Value, ServiceError> {
    let (items, name) = match what {
        "tools" => (json!(peer.list_all_tools().await?), "name"),
        "prompts" => (json!(peer.list_all_prompts().await?), "name"),
        "resources" => (json!(peer.list_all_resources().await?), "uri"),
        _ => (json!(peer.list_all_resource_templates().await?), "uriTemplate"),
    };
    let names = items.as_array().into_iter().flatten().map(|item| &item[name]);
    Ok(json!({ "names": names.collect::<Vec<_>>() }))
}

/// Whether what came is what the check expects.
fn holds(check: &Value, result: &Value) -> Result<(), String> {
    let text = text(&result["content"]);
    let kinds =
        || result["content"].as_array().into_iter().flatten().map(|part| part["type"].clone()).collect();
    let keys = || {
        let keys = result["structuredContent"].as_object().map(|object| object.keys());
        keys.into_iter().flatten().map(|key| json!(key)).collect()
    };
    let steps = check["progress"].as_array().map_or(0, Vec::len);
    let progress = || result["progress"].as_array().into_iter().flatten().take(steps).cloned().collect();
    for (expected, value) in check.as_object().expect("a check is an object") {
        let met = match expected.as_str() {
            "has" => has(&result["names"], value),
            "text" => text == value.as_str().unwrap_or_default(),
            "contains" => text.contains(value.as_str().unwrap_or_default()),
            "isError" => &result["isError"] == value,
            "kinds" => &Value::Array(kinds()) == value,
            "structured" => has(&Value::Array(keys()), value),
            "progress" => same_numbers(&Value::Array(progress()), value),
            "logs" => &result["logs"] == value,
            "values" => &result["values"] == value,
            "blob" => &result["blob"] == value,
            "then" => text == value["text"].as_str().unwrap_or_default(),
            _ => true,
        };
        if !met {
            return Err(format!("{expected} should be {value} in {result}"));
        }
    }
    (result.get("told") != Some(&json!(false))).then_some(()).ok_or_else(|| "nothing was told".to_owned())
}

fn text(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten();
    let texts = parts
        .map(|part| part["text"].as_str().or_else(|| part["resource"]["text"].as_str()).unwrap_or_default());
    texts.collect::<Vec<_>>().join("\n")
}

fn has(all: &Value, some: &Value) -> bool {
    let all = all.as_array().map_or(&[][..], Vec::as_slice);
    some.as_array().is_some_and(|some| some.iter().all(|one| all.contains(one)))
}

/// This SDK reads all numbers of progress as decimals.
fn same_numbers(came: &Value, expected: &Value) -> bool {
    let numbers = |value: &Value| -> Vec<_> {
        value.as_array().into_iter().flatten().flat_map(|step| [step[0].as_f64(), step[1].as_f64()]).collect()
    };
    numbers(came) == numbers(expected)
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("parameters as the specification has them")
}
