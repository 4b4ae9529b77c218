//! What the demo prints: the URL, the tools a client finds there, and what to type next. The tools are asked for
//! through the gateway's own endpoint, as a client does it.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the gateway has for its first answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The text for a gateway at `address`.
pub(crate) async fn greeting(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let url = format!("http://{address}/mcp");
    let tools = match timeout(PATIENCE, tools(address)).await {
        Ok(Ok(tools)) => tools.iter().map(|tool| format!("\n  {tool}")).collect::<String>(),
        Ok(Err(error)) => format!(" could not be listed: {error}"),
        Err(_) => format!(" could not be listed within {} s", PATIENCE.as_secs()),
    };
    format!(
        "\nThe gateway is at {url}\nwith two demo servers behind it. Their tools, as a client sees them:{tools}\n\n\
         Next, in another terminal:\n  \
         npx @modelcontextprotocol/inspector --cli {url} --transport http --method tools/list\n\
         Then with a server of your own:\n  \
         mcp-gateway --target NAME=http://HOST:PORT/mcp\n"
    )
}

/// Name and description of every tool at `address`.
async fn tools(address: SocketAddr) -> Result<Vec<String>, Failed> {
    let mut client = Client::new(address);
    client.initialize().await?;
    let answer = client.call("tools/list", json!({})).await?;
    client.end().await?;
    let tools = answer.get("tools").and_then(Value::as_array).ok_or("no tools in the answer")?;
    let text = |tool: &Value, key| tool.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(tools.iter().map(|tool| format!("{:<12} {}", text(tool, "name"), text(tool, "description"))).collect())
}

type Failed = Box<dyn Error + Send + Sync>;

/// As much of an MCP client as it takes.
pub(crate) struct Client {
    address: SocketAddr,
    session: Option<String>,
    revision: Option<String>,
}

impl Client {
    /// A client without a session.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, session: None, revision: None }
    }

    /// Opens a session.
    pub(crate) async fn initialize(&mut self) -> Result<(), Failed> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = self.call("initialize", params).await?;
        self.revision = answer.get("protocolVersion").and_then(Value::as_str).map(str::to_owned);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.send(Method::POST, initialized.to_string()).await.map(drop)
    }

    /// Ends it.
    pub(crate) async fn end(&mut self) -> Result<(), Failed> {
        self.send(Method::DELETE, String::new()).await.map(drop)
    }

    /// The result of a request.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<Value, Failed> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let text = self.send(Method::POST, request.to_string()).await?;
        // JSON, or an event stream whose last message is the answer.
        let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&text);
        let answer: Value = serde_json::from_str(last)?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(format!("{method}: {answer}").into()),
        }
    }

    /// The body of a successful answer.
    pub(crate) async fn send(&mut self, method: Method, body: String) -> Result<String, Failed> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in [("mcp-session-id", &self.session), ("mcp-protocol-version", &self.revision)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = answer.status();
        if let Some(session) = answer.headers().get("mcp-session-id") {
            self.session = Some(session.to_str()?.to_owned());
        }
        let text = String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?;
        connection.abort();
        if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}").into()) }
    }
}
