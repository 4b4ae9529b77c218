//! Objects as text, and what is asked of what is built from them.
#![allow(dead_code, reason = "each group of tests asks for its own")]

use k8s_adapter::build::{Built, Hosts, Inputs, Observed, Options, StatusKind, build};
use k8s_adapter::manifests;
use k8s_adapter::objects::{Key, Objects};
use routing::{Endpoint, Entry, Facts};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The class that all Gateways of the tests are of.
pub(crate) const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours, generation: 1}
spec: {controllerName: mcp-gateway.dev/controller}
";

/// The objects in `texts`.
pub(crate) fn objects(texts: &[&str]) -> Objects {
    let mut objects = Objects::default();
    for text in texts {
        manifests::read("test.yaml", text, &mut objects).unwrap();
    }
    objects
}

/// What is known of a cluster of `objects` where nothing has been resolved or seen yet.
pub(crate) fn inputs<'a>(objects: &'a Objects, options: &'a Options) -> Inputs<'a> {
    static HOSTS: Hosts = BTreeMap::new();
    static OBSERVED: Observed = BTreeMap::new();
    static UNBOUND: BTreeMap<SocketAddr, String> = BTreeMap::new();
    Inputs { objects, options, hosts: &HOSTS, observed: &OBSERVED, unbound: &UNBOUND, before: None }
}

/// What comes of that.
pub(crate) fn built(objects: &Objects, options: &Options) -> Built {
    build(&inputs(objects, options))
}

/// The status of `namespace/name`, or of `name`.
pub(crate) fn status(built: &Built, kind: StatusKind, name: &str) -> Value {
    let key = name
        .split_once('/')
        .map_or_else(|| Key::new("", name), |(namespace, name)| Key::new(namespace, name));
    let found = built.statuses.iter().find(|status| status.kind == kind && status.key == key);
    found.unwrap_or_else(|| panic!("no status of {name}")).status.clone()
}

/// `status reason` of a condition in an object that has `conditions`; empty if it has not got it.
pub(crate) fn condition(of: &Value, kind: &str) -> String {
    let conditions = of["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    let text = |condition: &Value, name: &str| condition[name].as_str().unwrap().to_owned();
    found.map(|one| format!("{} {}", text(one, "status"), text(one, "reason"))).unwrap_or_default()
}

/// A request.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

/// A request for `path`.
pub(crate) fn request<'a>(host: &'a str, path: &'a str) -> Request<'a> {
    Request { host, path, headers: &[] }
}

/// What is served at `address` for a request.
pub(crate) fn entry<'b>(built: &'b Built, address: &str, request: Request<'_>) -> Option<&'b Entry> {
    let address: SocketAddr = address.parse().unwrap();
    let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
    let header =
        |name: &str| request.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
    built.routes.port(&address)?.rule(&Facts { host: request.host, path, query, method: "GET", header })
}

/// The backend for a request, or the status it is answered with.
pub(crate) fn answer(built: &Built, address: &str, request: Request<'_>) -> String {
    match entry(built, address, request).map(|entry| entry.rule.backend(0)) {
        Some(Ok(backend)) => backend.name().to_string(),
        Some(Err(_)) => "500".to_owned(),
        None => "404".to_owned(),
    }
}

/// The endpoints of all targets of a backend.
pub(crate) fn endpoints(built: &Built, backend: &str) -> Vec<Endpoint> {
    let backend = built.routes.backend(&backend.into()).unwrap();
    backend.targets().iter().flat_map(|target| target.endpoints.clone()).collect()
}
