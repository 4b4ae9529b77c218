//! A request as a call on the cluster: where it goes, whether it may, and what comes of it.

use crate::cluster::{Caller, Target};
use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::server::{World, now};
use crate::watch::Cursor;
use crate::write::Verb;
use crate::{discovery, reviews, table, tree};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use std::sync::Arc;

/// The answer for a path that nobody serves, one of a missing definition among them.
const NOT_FOUND: Answer = Answer::Text(404, "404 page not found\n");

/// What is answered.
pub(crate) enum Answer {
    Object(u16, Value),
    /// Not by the API machinery, but by the server below it.
    Text(u16, &'static str),
    Refused(Refusal),
    /// A watch of a resource, with its `timeoutSeconds`.
    Watch(Box<Cursor>, String, Option<u64>),
}

/// A request that was read.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Media type of the body.
    pub(crate) content: String,
    /// Whether a table is wanted.
    pub(crate) table: bool,
    /// The client's name for itself.
    pub(crate) client: String,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn answer(&self, world: &mut World) -> Answer {
        let segments: Vec<&str> = self.path.split('/').filter(|segment| !segment.is_empty()).collect();
        let World { cluster, plan, .. } = world;
        if let Some(document) = discovery::document(&cluster.kinds, &segments) {
            return document;
        }
        if self.method == Method::POST && reviews::is_review(&segments) {
            return match self.body() {
                Ok(review) => Answer::Object(201, reviews::answer(plan, &cluster.kinds, review)),
                Err(refusal) => Answer::Refused(refusal),
            };
        }
        let Some(target) = self.target(world, &segments) else { return NOT_FOUND };
        self.call(world, target).unwrap_or_else(Answer::Refused)
    }

    /// What the path speaks of.
    fn target(&self, world: &World, segments: &[&str]) -> Option<Target> {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, status) = match rest {
            [plural] => (*plural, "", false),
            [plural, name] => (*plural, *name, false),
            [plural, name, "status"] => (*plural, *name, true),
            _ => return None,
        };
        let kind = world.cluster.kinds.find(group, version, plural)?;
        let served = kind.status || !status;
        served.then(|| Target {
            kind: Arc::clone(kind),
            version: version.to_owned(),
            namespace,
            name: name.to_owned(),
            status,
        })
    }

    fn call(&self, world: &mut World, target: Target) -> Result<Answer, Refusal> {
        let parameters = Parameters::parse(&self.query)?;
        let verb = match (&self.method, target.name.is_empty()) {
            (&Method::GET, true) if parameters.watch => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, true) => "create",
            (&Method::PUT, false) => "update",
            (&Method::PATCH, false) => "patch",
            (&Method::DELETE, false) => "delete",
            (&Method::DELETE, true) => "deletecollection",
            _ => {
                return Err(Refusal::new(
                    405,
                    "the server does not allow this method on the requested resource",
                ));
            }
        };
        admit(world, &target, verb)?;
        let World { cluster, plan, .. } = world;
        let kind = &target.kind;
        let shown = |object| if self.table { table::table(kind, object, &now()) } else { object };
        Ok(match verb {
            "watch" => {
                let timeout = parameters.timeout;
                let cursor = Cursor::open(cluster, &target, parameters, plan)?;
                Answer::Watch(Box::new(cursor), kind.resource(), timeout)
            }
            "list" => Answer::Object(200, shown(cluster.list(&target, &parameters)?)),
            "get" => Answer::Object(200, shown(cluster.find(&target)?)),
            "delete" => {
                Answer::Object(200, cluster.delete(&target, &self.body().unwrap_or_default(), &now())?)
            }
            "deletecollection" => Answer::Object(200, cluster.delete_all(&target, &parameters, &now())?),
            verb => {
                let (code, object) = self.write(world, target, verb, parameters)?;
                Answer::Object(code, object)
            }
        })
    }

    fn write(
        &self,
        world: &mut World,
        mut target: Target,
        verb: &str,
        parameters: Parameters,
    ) -> Result<(u16, Value), Refusal> {
        let body = self.body()?;
        let manager =
            if parameters.manager.is_empty() { self.client.clone() } else { parameters.manager.clone() };
        let verb = match (verb, self.content.as_str()) {
            ("create", _) => {
                target.name = tree::text(&body, "/metadata/name").to_owned();
                Verb::Create(body)
            }
            ("update", _) => Verb::Replace(body),
            (_, "application/apply-patch+yaml") if parameters.manager.is_empty() => {
                return Err(Refusal::new(400, "fieldManager is required for apply patch"));
            }
            (_, "application/apply-patch+yaml") => Verb::Apply { body, force: parameters.force },
            (_, "application/merge-patch+json") => Verb::Merge(body),
            (_, "application/strategic-merge-patch+json") if !target.kind.custom => Verb::Strategic(body),
            (_, "application/json-patch+json") => Verb::Json(body),
            (_, other) => {
                let message = format!("the body of the request was in an unknown format: {other}");
                return Err(Refusal::new(415, message));
            }
        };
        world.cluster.write(&target, verb, &Caller { manager, now: now(), dry_run: parameters.dry_run })
    }

    fn body(&self) -> Result<Value, Refusal> {
        if self.content == "application/vnd.kubernetes.protobuf" {
            return Err(Refusal::new(415, "protobuf is not understood here, JSON and YAML are"));
        }
        serde_json::from_slice(&self.body).or_else(|_| {
            let text = String::from_utf8_lossy(&self.body);
            serde_saphyr::from_str(&text)
                .map_err(|error| Refusal::new(400, format!("the body is neither JSON nor YAML: {error}")))
        })
    }
}

/// Rights, and refusals on purpose.
fn admit(world: &mut World, target: &Target, verb: &str) -> Result<(), Refusal> {
    let Target { kind, namespace, name, status, .. } = target;
    let resource = kind.resource();
    if let Some(refusal) = world.plan.refuses(&resource) {
        return Err(refusal);
    }
    let part = if *status { "/status" } else { "" };
    if !world.plan.denies(verb, &format!("{resource}{part}")) {
        return Ok(());
    }
    let scope = match namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let name = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
    let message = format!(
        "{resource}{name} is forbidden: User \"fake\" cannot {verb} resource \"{}{part}\" in API group \"{}\" {scope}",
        kind.plural, kind.group
    );
    Err(Refusal::new(403, message))
}
