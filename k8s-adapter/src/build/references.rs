//! What the backendRefs of a rule lead to.

use super::backends::Served;
use super::grants::Kind;
use super::services::{EXTERNAL_NAME, Reach, Spoken, port_number, reach};
use super::status::Problem;
use super::targets::target_name;
use super::{Scene, Told};
use crate::objects::{BACKEND_GROUP, BackendRef, GATEWAY_GROUP, Key, Service};
use routing::{Backend, BackendName, Protocol, Share, Target};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything rules can lead to.
pub(super) struct Backends<'a> {
    scene: &'a Scene<'a>,
    /// `Backend`s.
    served: &'a BTreeMap<&'a Key, Served>,
    /// Ports of Services that have been asked for.
    services: BTreeMap<BackendName, Arc<Backend>>,
}

impl<'a> Backends<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, served: &'a BTreeMap<&'a Key, Served>) -> Self {
        Self { scene, served, services: BTreeMap::new() }
    }

    /// The share that a reference of a route in `namespace` stands for; a problem is one of its ResolvedRefs.
    pub(super) fn share(
        &mut self,
        namespace: &str,
        to: &BackendRef,
        told: &mut Told,
    ) -> (Share, Option<Problem>) {
        let weight = to.weight.map_or(1, |weight| u32::try_from(weight.max(0)).unwrap_or(u32::MAX));
        match self.backend(namespace, to, told) {
            Ok(backend) => (Share { weight, to: Ok(backend) }, None),
            Err(problem) => (Share { weight, to: Err(problem.message.as_str().into()) }, Some(problem)),
        }
    }

    fn backend(
        &mut self,
        namespace: &str,
        to: &BackendRef,
        told: &mut Told,
    ) -> Result<Arc<Backend>, Problem> {
        let group = to.group.as_deref().unwrap_or_default();
        let kind = to.kind.as_deref().unwrap_or("Service");
        if !matches!((group, kind), ("", "Service") | (BACKEND_GROUP, "Backend")) {
            return Err(Problem::new(
                "InvalidKind",
                format!("a backendRef to {kind}.{group} is not supported"),
            ));
        }
        let key = Key::new(to.namespace.as_deref().unwrap_or(namespace), &to.name);
        let from = Kind { group: GATEWAY_GROUP, kind: "HTTPRoute" };
        if !self.scene.grants.permit(from, namespace, Kind { group, kind }, &key) {
            return Err(Problem::new("RefNotPermitted", format!("no ReferenceGrant permits {kind} {key}")));
        }
        if kind == "Service" { self.service(&key, to.port, told) } else { self.mcp(&key) }
    }

    fn mcp(&self, key: &Key) -> Result<Arc<Backend>, Problem> {
        match self.served.get(key) {
            Some(Served { backend: Ok(backend), .. }) => Ok(Arc::clone(backend)),
            Some(Served { backend: Err(reason), .. }) => Err(Problem::new("BackendNotFound", &**reason)),
            None => Err(match self.scene.objects.backends.get(key) {
                Some(other) => {
                    let kind = &other.spec.kind;
                    Problem::new(
                        "InvalidKind",
                        format!("Backend {key} is of type {kind:?}; only MCP is supported"),
                    )
                }
                None => Problem::new("BackendNotFound", format!("there is no Backend {key}")),
            }),
        }
    }

    fn service(&mut self, key: &Key, port: Option<i64>, told: &mut Told) -> Result<Arc<Backend>, Problem> {
        let missing = |message| Problem::new("BackendNotFound", message);
        let service = self.scene.objects.services.get(key);
        let service = service.ok_or_else(|| missing(format!("there is no Service {key}")))?;
        if service.spec.kind == EXTERNAL_NAME {
            return Err(Problem::new("InvalidKind", format!("Service {key} is an ExternalName")));
        }
        let port = port.ok_or_else(|| missing(format!("a backendRef to Service {key} needs a port")))?;
        let found = service.spec.ports.iter().find(|one| one.port == port);
        let number = port_number(port);
        let (Some(found), Some(number)) = (found, number) else {
            return Err(missing(format!("Service {key} has no port {port}")));
        };
        let name = BackendName::from(format!("service/{key}:{number}").as_str());
        if let Some(known) = self.services.get(&name) {
            return Ok(Arc::clone(known));
        }
        let spoken = Spoken::at(found);
        if spoken == Spoken::Other {
            let what = found.app_protocol.as_deref().or(found.protocol.as_deref()).unwrap_or_default();
            return Err(Problem::new(
                "UnsupportedProtocol",
                format!("port {number} of Service {key} speaks {what}"),
            ));
        }
        let reach = reach(self.scene, service, found, number, told);
        let target = target(service, reach, spoken)
            .ok_or_else(|| missing(format!("Service {key} has no usable name")))?;
        let backend = match spoken.is_mcp() {
            // One target has its name to itself.
            true => Backend::mcp(name.clone(), vec![target]).map_err(|error| missing(error.to_string()))?,
            false => Backend::http(name.clone(), target),
        };
        let backend = self.scene.shared(backend);
        self.services.insert(name, Arc::clone(&backend));
        Ok(backend)
    }
}

fn target(service: &Service, reach: Reach, spoken: Spoken) -> Option<Target> {
    let (protocol, path) = match spoken {
        Spoken::McpSse => (Protocol::Sse, "/sse"),
        Spoken::Mcp => (Protocol::Auto, "/mcp"),
        Spoken::Http | Spoken::Other => (Protocol::Auto, "/"),
    };
    let target = Target::named(target_name(&service.metadata.name)?, &reach.authority, path);
    Some(Target { endpoints: reach.reached.endpoints, protocol, ..target })
}
