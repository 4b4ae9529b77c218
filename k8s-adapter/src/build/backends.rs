//! `Backend`s: which targets stand behind each, and what is reported of them.

use super::status::{Conditions, Problem, named, truncated};
use super::targets::{Member, Members, members};
use super::{Scene, StatusKind, Told, WantedStatus};
use crate::objects;
use crate::objects::Key;
use routing::{Backend, BackendName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many targets a status lists.
const TARGETS_LISTED: usize = 256;
/// Bytes of a target's last error that a status tells.
const ERROR_LIMIT: usize = 1024;

/// A `Backend` of MCP servers.
pub(super) struct Served {
    /// What a rule can lead to, or why there is nothing.
    pub(super) backend: Result<Arc<Backend>, Arc<str>>,
    pub(super) status: WantedStatus,
}

/// All `Backend`s of MCP servers; those of other types are somebody else's.
pub(super) fn served<'a>(scene: &Scene<'a>, told: &mut Told) -> BTreeMap<&'a Key, Served> {
    let of_mcp = scene.objects.backends.iter().filter(|(_, backend)| is_mcp(backend));
    of_mcp.map(|(key, backend)| (key, serve(scene, key, backend, told))).collect()
}

/// A `Backend` without type is taken for what it has.
fn is_mcp(backend: &objects::Backend) -> bool {
    match backend.spec.kind.as_str() {
        "MCP" => true,
        "" => backend.spec.mcp.is_some(),
        _ => false,
    }
}

fn serve(scene: &Scene<'_>, key: &Key, backend: &objects::Backend, told: &mut Told) -> Served {
    let entries = backend.spec.mcp.as_ref().map_or(&[][..], |mcp| &mcp.targets);
    let found = members(scene, key, entries, told);
    for remark in found.invalid.iter().chain(&found.remarks) {
        told.note(format!("Backend {key}: {remark}"));
    }
    let name = BackendName::from(key.to_string().as_str());
    let accepted = accepted(&found);
    let targets = found.members.iter().map(|member| member.target.clone()).collect();
    let status = status(scene, backend, &name, &found, &accepted);
    let backend = match accepted {
        Ok(_) => Backend::mcp(name, targets)
            .map(|backend| scene.shared(backend))
            .map_err(|error| error.to_string()),
        Err(problem) => Err(format!("Backend {key} has no valid target: {}", problem.message)),
    };
    Served { backend: backend.map_err(Arc::from), status }
}

fn accepted(found: &Members) -> Result<String, Problem> {
    match (found.valid, found.invalid.as_slice()) {
        (0, []) => Err(Problem::new("Invalid", "it has no targets")),
        (0, invalid) => Err(Problem::new("Invalid", named(invalid))),
        (_, []) => Ok("all targets are valid".to_owned()),
        (_, invalid) => Ok(format!("some targets are invalid: {}", named(invalid))),
    }
}

/// Whether each target has somebody who answers.
fn resolved(found: &Members) -> Result<String, Problem> {
    let without: Vec<String> =
        found.members.iter().filter(|member| member.reached.ready() == 0).map(name_of).collect();
    let remarks = match found.remarks.as_slice() {
        [] => String::new(),
        remarks => format!("; {}", named(remarks)),
    };
    match (found.members.len(), without.as_slice()) {
        (0, _) => Err(Problem::new("NoTargets", format!("nothing is selected{remarks}"))),
        (_, without @ [_, ..]) => Err(Problem::new(
            "NoReadyEndpoints",
            format!("without ready endpoint: {}{remarks}", named(without)),
        )),
        (count @ ..=TARGETS_LISTED, []) => Ok(format!("{count} with ready endpoints{remarks}")),
        (count, []) => Ok(format!("{count} with ready endpoints, {TARGETS_LISTED} of them listed{remarks}")),
    }
}

fn name_of(member: &Member) -> String {
    member.target.name().to_string()
}

fn status(
    scene: &Scene<'_>,
    backend: &objects::Backend,
    name: &BackendName,
    found: &Members,
    accepted: &Result<String, Problem>,
) -> WantedStatus {
    let metadata = &backend.metadata;
    let resolved = resolved(found);
    let conditions = Conditions::new(metadata.generation)
        .checked("Accepted", accepted.as_deref())
        .checked("TargetsResolved", resolved.as_deref());
    let mut targets: Vec<(String, Value)> =
        found.members.iter().map(|member| (name_of(member), target(scene, name, member))).collect();
    targets.sort_by(|(a, _), (b, _)| a.cmp(b));
    targets.truncate(TARGETS_LISTED);
    let targets: Vec<Value> = targets.into_iter().map(|(_, target)| target).collect();
    WantedStatus {
        kind: StatusKind::Backend,
        key: metadata.key(),
        generation: metadata.generation,
        resource_version: metadata.resource_version.clone(),
        status: json!({ "conditions": conditions.into_value(), "targets": targets }),
    }
}

fn target(scene: &Scene<'_>, backend: &BackendName, member: &Member) -> Value {
    let id = routing::TargetId::new(backend.clone(), member.target.name().clone());
    let mut entry = json!({
        "name": name_of(member),
        "source": member.source,
        "endpointsReady": member.reached.ready(),
        "endpointsTotal": member.reached.total,
    });
    if let (Some(seen), Some(entry)) = (scene.inputs.observed.get(&id), entry.as_object_mut()) {
        let facts = [("era", &seen.era), ("lastError", &seen.error)];
        let facts = facts.into_iter().filter_map(|(name, fact)| {
            let fact = truncated(fact.as_deref()?, ERROR_LIMIT);
            Some((name.to_owned(), fact.into()))
        });
        entry.extend(facts);
    }
    entry
}
