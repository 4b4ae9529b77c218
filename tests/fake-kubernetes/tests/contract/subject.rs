//! The server that a test is held against: a fake of its own, or the real one that `TEST_KUBECONFIG` names.

use fake_kubernetes::{FakeKubernetes, Timings};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Whatever a test waits for comes within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const JSON: &str = "application/json";

/// Makes two tests of each function: one with a fake, one with the real server.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod fake {
            $(#[test]
            fn $name() {
                crate::subject::on_fake(super::$name);
            })+
        }
        mod real {
            $(#[test]
            fn $name() {
                crate::subject::on_real(stringify!($name), super::$name);
            })+
        }
    };
}
pub(crate) use contract;

/// A server, and a namespace in it that is the test's own.
pub(crate) struct Subject {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
    pub(crate) retry_after: Option<String>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body, if the request was granted.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.text);
        self.json()
    }
}

impl Subject {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, JSON, &Value::Null).await
    }

    pub(crate) async fn create(&self, path: &str, body: &Value) -> Value {
        self.send(Method::POST, path, JSON, body).await.ok()
    }

    pub(crate) async fn patch(&self, path: &str, content: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, content, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, JSON, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        self.send(Method::DELETE, path, JSON, &Value::Null).await.ok()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Reply {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let reply = async {
            let response = self.client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
            let (head, body) = response.into_parts();
            let retry_after = head.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
            Reply { code: head.status.as_u16(), text, retry_after }
        };
        timeout(PATIENCE, reply).await.expect("an answer")
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = timeout(PATIENCE, self.client.send(request)).await.expect("a watch opens").unwrap();
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body(), rest: Vec::new() }
    }

    /// The path of a core type in the test's namespace.
    pub(crate) fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The path of a type of the Gateway API in the test's namespace.
    pub(crate) fn gateway_api(&self, rest: &str) -> String {
        format!("/apis/gateway.networking.k8s.io/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The path of endpoint slices in the test's namespace.
    pub(crate) fn slices(&self, rest: &str) -> String {
        format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices{rest}", self.namespace)
    }

    async fn new(client: Client) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("contract-{}-{number}", std::process::id());
        let subject = Self { client, namespace };
        let body = json!({"metadata": {"name": subject.namespace}, "apiVersion": "v1", "kind": "Namespace"});
        subject.create("/api/v1/namespaces", &body).await;
        subject
    }

    /// The fake, as a client with a namespace of its own sees it.
    pub(crate) async fn of(server: &FakeKubernetes) -> Self {
        Self::new(client(&server.kubeconfig()).await).await
    }
}

/// A watch that a test reads.
pub(crate) struct Watch {
    body: Body,
    /// Read, but not a whole line yet.
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; `None` at the end, which is an error if it comes in the middle.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap()));
            }
            match timeout(PATIENCE, self.body.frame()).await.expect("the watch says something") {
                Some(Ok(frame)) => self.rest.extend_from_slice(frame.data_ref().unwrap()),
                Some(Err(error)) => return Err(format!("{error:?}")),
                None => return Ok(None),
            }
        }
    }

    /// Type, name and revision of the next event.
    pub(crate) async fn event(&mut self) -> (String, String, u64) {
        let event = self.next().await.unwrap().expect("an event");
        (text(&event, "/type"), text(&event, "/object/metadata/name"), revision(&event["object"]))
    }

    /// All events up to the end.
    pub(crate) async fn rest_of_it(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            events.push(event);
        }
        events
    }

    /// What came of a line that was not sent whole.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.rest
    }
}

pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The revision of an object or a list.
pub(crate) fn revision(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or_else(|_| panic!("no revision: {object}"))
}

/// A service with a label.
pub(crate) fn service(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": label}},
        "spec": {"ports": [{"port": 80}]},
    })
}

/// A gateway with one listener.
pub(crate) fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name},
        "spec": {"gatewayClassName": "contract", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    })
}

/// A condition in good shape.
pub(crate) fn condition(kind: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// Times that fit a test.
pub(crate) fn quick() -> Timings {
    Timings { too_large_after: Duration::from_millis(100), ..Timings::default() }
}

/// Runs a test on a fake.
pub(crate) fn on_fake<F: Future<Output = ()>>(test: impl FnOnce(Subject) -> F) {
    let server = FakeKubernetes::start_with(0, quick());
    run(async { test(Subject::of(&server).await).await });
}

/// Runs a test on the real server, if there is one.
pub(crate) fn on_real<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Subject) -> F) {
    let Some(path) = env::var_os("TEST_KUBECONFIG") else {
        println!("SKIPPED on a real server: {name}: TEST_KUBECONFIG names none");
        return;
    };
    let kubeconfig = std::fs::read_to_string(path).expect("TEST_KUBECONFIG can be read");
    run(async {
        let subject = Subject::new(client(&kubeconfig).await).await;
        let namespace = format!("/api/v1/namespaces/{}", subject.namespace);
        let client = subject.client.clone();
        if subject.get(&subject.gateway_api("gateways")).await.code == 404 {
            println!("SKIPPED on a real server: {name}: it does not know the Gateway API");
        } else {
            test(subject).await;
        }
        Subject { client, namespace: String::new() }.delete(&namespace).await;
    });
}

/// Runs a test on one thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // The contract is about what the server says the first time.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
