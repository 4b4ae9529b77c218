//! HTTPRoutes: what each attaches to, and what is reported of it.

use super::backends::Served;
use super::gateways::Claimed;
use super::listeners::Claim;
use super::matches::canonical;
use super::references::Backends;
use super::rules::{Rules, rules};
use super::status::{Conditions, Problem, named};
use super::{Scene, StatusKind, Told, WantedStatus};
use crate::objects::{GATEWAY_GROUP, HttpRoute, Key, ParentRef};
use routing::{Entry, HostMatch};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The condition of a route of which an older one has the same match.
const SHADOWED: &str = "mcp-gateway.dev/Shadowed";

/// Attaches all routes to the listeners that take them. Routes come oldest first, then by name, and rules in their
/// order: so what comes first on a listener wins among equals.
pub(super) fn attach<'a>(
    scene: &Scene<'a>,
    gateways: &mut [Claimed<'a>],
    served: &BTreeMap<&Key, Served>,
    told: &mut Told,
) -> Vec<WantedStatus> {
    let index: BTreeMap<Key, usize> =
        gateways.iter().enumerate().map(|(at, gateway)| (gateway.key.clone(), at)).collect();
    let mut routes: Vec<_> = scene.objects.routes.iter().collect();
    routes.sort_by_key(|(key, route)| (&route.metadata.creation_timestamp, *key));
    let mut backends = Backends::new(scene, served);
    let mut statuses = Vec::new();
    for (key, route) in routes {
        let parents: Vec<(&ParentRef, usize)> = route
            .spec
            .parent_refs
            .iter()
            .filter_map(|parent| Some((parent, *index.get(&gateway_of(key, parent)?)?)))
            .collect();
        if parents.is_empty() {
            // What was said of Gateways that are no longer named is to be taken back.
            if has_entries_of(&route.status, &scene.options().controller_name) {
                statuses.push(wanted(route, json!([])));
            }
            continue;
        }
        let rules = rules(key, route, &mut backends, told);
        let mut entries = Vec::new();
        for (parent, at) in parents {
            if let Some(gateway) = gateways.get_mut(at) {
                let attached = attach_to(scene, gateway, key, route, parent, &rules);
                entries.push(entry(scene, key, route, parent, &rules, attached, told));
            }
        }
        statuses.push(wanted(route, Value::Array(entries)));
    }
    statuses
}

/// The Gateway a parentRef names, if it names one.
fn gateway_of(route: &Key, parent: &ParentRef) -> Option<Key> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let namespace = parent.namespace.as_deref().unwrap_or(&route.namespace);
    ((group, kind) == (GATEWAY_GROUP, "Gateway")).then(|| Key::new(namespace, &parent.name))
}

fn has_entries_of(status: &Value, controller: &str) -> bool {
    let parents = status.get("parents").and_then(Value::as_array);
    parents
        .into_iter()
        .flatten()
        .any(|parent| parent.get("controllerName").and_then(Value::as_str) == Some(controller))
}

fn wanted(route: &HttpRoute, parents: Value) -> WantedStatus {
    let metadata = &route.metadata;
    WantedStatus {
        kind: StatusKind::HttpRoute,
        key: metadata.key(),
        generation: metadata.generation,
        resource_version: metadata.resource_version.clone(),
        status: json!({ "parents": parents }),
    }
}

/// What came of a parentRef: where nothing is served although all is well, and which rules never win.
struct Attached {
    unserved: Vec<String>,
    shadowed: BTreeSet<String>,
}

/// Attaches `route` to all listeners of `gateway` that `parent` means and that take it.
fn attach_to<'a>(
    scene: &Scene<'a>,
    gateway: &mut Claimed<'a>,
    key: &'a Key,
    route: &HttpRoute,
    parent: &ParentRef,
    rules: &Rules,
) -> Result<Attached, Problem> {
    let gateway_key = gateway.key;
    let refused = gateway.is_refused();
    let meant = |claim: &Claim<'_>| {
        let section = parent.section_name.as_deref().filter(|name| !name.is_empty());
        section.is_none_or(|name| name == claim.name()) && parent.port.is_none_or(|port| port == claim.port())
    };
    let mut claims: Vec<&mut Claim<'a>> = gateway.listeners.iter_mut().filter(|claim| meant(claim)).collect();
    if claims.is_empty() {
        return Err(Problem::new("NoMatchingParent", "the Gateway has no listener of that name and port"));
    }
    claims.retain(|claim| claim.takes_http && claim.allows(scene.objects, gateway_key, &key.namespace));
    if claims.is_empty() {
        return Err(Problem::new("NotAllowedByListeners", "no listener takes HTTPRoutes of this namespace"));
    }
    let mut attached = Attached { unserved: Vec::new(), shadowed: BTreeSet::new() };
    let mut met = false;
    for claim in claims {
        let hosts = hosts(&route.spec.hostnames, &claim.host);
        if hosts.is_empty() {
            continue;
        }
        met = true;
        if refused || !claim.serves() {
            attached.unserved.push(claim.name().to_owned());
        }
        // A route may name a listener twice, by itself and with all others.
        if claim.attached.insert(key) {
            add(claim, key, &hosts, rules, &mut attached.shadowed);
        }
    }
    match met {
        true => Ok(attached),
        false => Err(Problem::new("NoMatchingListenerHostname", "no hostname is one of a listener's")),
    }
}

/// What both a route's hostnames and a listener's cover.
fn hosts(hostnames: &[String], listener: &HostMatch) -> BTreeSet<HostMatch> {
    match hostnames {
        [] => BTreeSet::from([listener.clone()]),
        names => names.iter().filter_map(|name| HostMatch::parse(name).intersection(listener)).collect(),
    }
}

fn add(
    claim: &mut Claim<'_>,
    key: &Key,
    hosts: &BTreeSet<HostMatch>,
    rules: &Rules,
    shadowed: &mut BTreeSet<String>,
) {
    for (number, on, rule) in &rules.cases {
        for host in hosts {
            let place = canonical(host, on);
            if let Some(first) = claim.first.get(&place) {
                shadowed
                    .insert(format!("rules[{number}] at host {host} never wins: {first} matches the same"));
                continue;
            }
            claim.first.insert(place, format!("HTTPRoute {key} rules[{number}]"));
            claim.entries.push(Entry { host: host.clone(), on: on.clone(), rule: Arc::clone(rule) });
        }
    }
}

/// The entry of `status.parents` for one parentRef.
fn entry(
    scene: &Scene<'_>,
    key: &Key,
    route: &HttpRoute,
    parent: &ParentRef,
    rules: &Rules,
    attached: Result<Attached, Problem>,
    told: &mut Told,
) -> Value {
    let all_unsupported = rules.count > 0 && rules.usable == 0;
    let unsupported = format!("{}; such a rule answers with 500", named(&rules.unsupported));
    let mut conditions = Conditions::new(route.metadata.generation);
    conditions = match &attached {
        Err(problem) => conditions.checked("Accepted", Err(problem)),
        Ok(_) if all_unsupported => conditions.with("Accepted", false, "UnsupportedValue", &unsupported),
        Ok(Attached { unserved, .. }) if unserved.is_empty() => {
            conditions.checked("Accepted", Ok("it is attached"))
        }
        Ok(Attached { unserved, .. }) => {
            let message = format!("it is attached; not served: listener {}", named(unserved));
            conditions.checked("Accepted", Ok(&message))
        }
    };
    conditions = conditions
        .checked("ResolvedRefs", rules.unresolved.as_ref().map_or(Ok("all references lead somewhere"), Err));
    if !all_unsupported && !rules.unsupported.is_empty() {
        // The specification wants these two words at the start.
        let message = format!("Dropped Rule: {unsupported}");
        conditions = conditions.with("PartiallyInvalid", true, "UnsupportedValue", &message);
    }
    for problem in &rules.unsupported {
        told.note(format!("HTTPRoute {key}: {problem}"));
    }
    if let Ok(Attached { shadowed, .. }) = attached.as_ref()
        && !shadowed.is_empty()
    {
        let shadowed: Vec<String> = shadowed.iter().cloned().collect();
        conditions = conditions.with(SHADOWED, true, "OlderRuleWins", &named(&shadowed));
        shadowed.into_iter().for_each(|one| told.note(format!("HTTPRoute {key}: {one}")));
    }
    json!({
        "parentRef": echo(parent),
        "controllerName": scene.options().controller_name,
        "conditions": conditions.into_value(),
    })
}

/// The parentRef as it was written, with what the definition fills in.
fn echo(parent: &ParentRef) -> Value {
    let mut echo = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| echo.insert(name.to_owned(), value));
    put("group", Some(parent.group.as_deref().unwrap_or(GATEWAY_GROUP).into()));
    put("kind", Some(parent.kind.as_deref().unwrap_or("Gateway").into()));
    put("namespace", parent.namespace.clone().map(Value::from));
    put("name", Some(parent.name.clone().into()));
    put("sectionName", parent.section_name.clone().map(Value::from));
    put("port", parent.port.map(Value::from));
    Value::Object(echo)
}
