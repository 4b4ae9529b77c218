//! The targets of a Backend: what its entries stand for, and what they are called.

use super::endpoints::{Reached, digest};
use super::selectors::{check, selects};
use super::services::{EXTERNAL_NAME, Reach, Spoken, at_host, ip, is_host_name, port_number, reach};
use super::{Scene, Told};
use crate::objects::{Key, LabelSelector, McpTarget, Selectors, Service, ServicePort, StaticTarget};
use routing::{Protocol, Target, TargetName};
use std::collections::{BTreeMap, BTreeSet};

/// A target, and where it comes from.
pub(super) struct Member {
    pub(super) target: Target,
    /// The Service and port, or the host.
    pub(super) source: String,
    pub(super) reached: Reached,
}

/// What the entries of a Backend come to.
#[derive(Default)]
pub(super) struct Members {
    /// In the order of the entries; what one selects is sorted, the Backend's own namespace first.
    pub(super) members: Vec<Member>,
    /// Entries that can be understood, whether they come to something or not.
    pub(super) valid: usize,
    /// What is wrong with the others.
    pub(super) invalid: Vec<String>,
    /// What was left out or renamed although its entry is valid.
    pub(super) remarks: Vec<String>,
}

/// What the entries of `backend` stand for.
pub(super) fn members(scene: &Scene<'_>, backend: &Key, entries: &[McpTarget], told: &mut Told) -> Members {
    let mut found = Members::default();
    let mut placed: Vec<(usize, Member)> = Vec::new();
    let mut taken = BTreeSet::new();
    let mut selected: BTreeMap<Selected<'_>, usize> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let understood = understand(entry).and_then(|entry| match entry {
            Entry::Static(name, host) => {
                let member = fixed(scene, backend, name, host, told)?;
                if !taken.insert(member.target.name().clone()) {
                    return Err(format!("another target is named {}", member.target.name()));
                }
                placed.push((at, member));
                Ok(())
            }
            Entry::Selector(selectors) => {
                let services = select(scene, backend, selectors, at, &mut found.remarks)?;
                // What two entries select is one target, of the first.
                services.for_each(|one| _ = selected.entry(one).or_insert(at));
                Ok(())
            }
        });
        match understood {
            Ok(()) => found.valid += 1,
            Err(problem) => found.invalid.push(format!("targets[{at}]: {problem}")),
        }
    }
    for (one, at) in selected {
        match one.member(scene, &mut taken, &mut found.remarks, told) {
            Ok(member) => placed.push((at, member)),
            Err(remark) => found.remarks.push(remark),
        }
    }
    placed.sort_by_key(|(at, _)| *at);
    found.members = placed.into_iter().map(|(_, member)| member).collect();
    found
}

/// An entry that is understood so far.
enum Entry<'a> {
    Static(&'a str, &'a StaticTarget),
    Selector(&'a Selectors),
}

fn understand(entry: &McpTarget) -> Result<Entry<'_>, String> {
    let selectors: Vec<&Selectors> = entry.selectors.iter().chain(&entry.selector).collect();
    match (&entry.at, selectors.as_slice()) {
        (Some(host), []) => match entry.name.as_deref().or(host.name.as_deref()) {
            Some(name) => Ok(Entry::Static(name, host)),
            None => Err("a static target without name".to_owned()),
        },
        (None, [selectors]) if selectors.namespace.is_none() && selectors.service.is_none() => {
            // Never "all": a definition of another version may have dropped what was here.
            Err("a selector that says neither which Services nor which namespaces".to_owned())
        }
        (None, [selectors]) => Ok(Entry::Selector(selectors)),
        (None, []) => {
            Err("neither `static` nor a selector; was it dropped by another version's definition?".to_owned())
        }
        _ => Err("more than one of `static`, `selectors` and `selector`".to_owned()),
    }
}

/// The target at a host.
fn fixed(
    scene: &Scene<'_>,
    backend: &Key,
    name: &str,
    at: &StaticTarget,
    told: &mut Told,
) -> Result<Member, String> {
    let name = TargetName::parse(name).map_err(|error| format!("{name:?} is no name: {error}"))?;
    let port = port_number(at.port).ok_or_else(|| format!("{} is no port", at.port))?;
    let host = at.host.trim_end_matches('.');
    if ip(host).is_none() && !is_host_name(host) {
        return Err(format!("{:?} is no host", at.host));
    }
    let (protocol, usual) = match at.protocol.as_deref().unwrap_or_default() {
        "SSE" => (Protocol::Sse, "/sse"),
        "StreamableHTTP" | "Undefined" | "" => (Protocol::Auto, "/mcp"),
        other => return Err(format!("{other:?} is no protocol that is known here")),
    };
    let path = at.path.as_deref().filter(|path| !path.is_empty()).unwrap_or(usual);
    if !is_path(path) {
        return Err(format!("{path:?} is no path"));
    }
    let service = in_cluster(scene, backend, host).and_then(|service| {
        let ports = service.spec.ports.iter();
        Some((service, ports.into_iter().find(|one| port_number(one.port) == Some(port))?))
    });
    let Reach { reached, authority } = match service {
        Some((service, service_port)) => {
            // The name that was written is one the server expects; only where it leads is looked up.
            let Reach { reached, authority } = reach(scene, service, service_port, port, told);
            let named = scene.options().from_files
                && scene.slices.of_service(&service.metadata.namespace, &service.metadata.name).is_none();
            Reach { reached, authority: if named { authority } else { format!("{host}:{port}") } }
        }
        None => at_host(scene, host, port, told),
    };
    let target =
        Target { endpoints: reached.endpoints.clone(), protocol, ..Target::named(name, &authority, path) };
    Ok(Member { target, source: format!("{}:{}", at.host, at.port), reached })
}

/// The Service that `host` names, if it is `service`, `service.namespace`, or a longer form of that.
fn in_cluster<'a>(scene: &Scene<'a>, backend: &Key, host: &str) -> Option<&'a Service> {
    let suffix = format!(".svc.{}", scene.options().cluster_domain);
    let short = host.strip_suffix(suffix.as_str()).or_else(|| host.strip_suffix(".svc")).unwrap_or(host);
    let key = match short.split_once('.') {
        None => Key::new(&backend.namespace, short),
        Some((name, namespace)) => Key::new(namespace, name),
    };
    let service = scene.objects.services.get(&key)?;
    (service.spec.kind != EXTERNAL_NAME).then_some(service.as_ref())
}

/// A port of a Service that a selector has found. Sorted so that who comes first keeps a short name.
struct Selected<'a> {
    foreign: bool,
    service: &'a Service,
    number: u16,
    port: &'a ServicePort,
}

impl<'a> Selected<'a> {
    fn order(&self) -> (bool, &'a str, &'a str, u16, &'a str) {
        let metadata = &self.service.metadata;
        (self.foreign, &metadata.namespace, &metadata.name, self.number, &self.port.name)
    }
}

impl Ord for Selected<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Selected<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Selected<'_> {}

impl PartialEq for Selected<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

/// All MCP ports of the Services that `selectors` of entry `at` select.
fn select<'a>(
    scene: &Scene<'a>,
    backend: &Key,
    selectors: &'a Selectors,
    at: usize,
    remarks: &mut Vec<String>,
) -> Result<impl Iterator<Item = Selected<'a>> + use<'a>, String> {
    for selector in selectors.service.iter().chain(&selectors.namespace) {
        check(selector)?;
    }
    let mut found = Vec::new();
    let own = scene.objects.backends.get_key_value(backend).map(|(key, _)| key.namespace.as_str());
    let only = if selectors.namespace.is_none() { own } else { None };
    let namespaces = selectors.namespace.as_ref().map(|selector| opened(scene, selector));
    for service in scene.services.selected(selectors.service.as_ref(), only) {
        let metadata = &service.metadata;
        if namespaces.as_ref().is_some_and(|opened| !opened(&metadata.namespace, &backend.namespace)) {
            continue;
        }
        let ports: Vec<_> = service.spec.ports.iter().filter(|port| Spoken::at(port).is_mcp()).collect();
        let key = metadata.key();
        match ports.is_empty() {
            // It leads where its owner likes, which may be another namespace.
            _ if service.spec.kind == EXTERNAL_NAME => {
                remarks.push(format!("targets[{at}]: Service {key} is skipped: it is an ExternalName"));
            }
            // Of a selector by label this is a slip; a selector of everything means those it can use.
            true if selectors
                .service
                .as_ref()
                .is_some_and(|selector| *selector != LabelSelector::default()) =>
            {
                remarks.push(format!(
                    "targets[{at}]: Service {key} is skipped: none of its ports has appProtocol kgateway.dev/mcp"
                ));
            }
            _ => {
                let foreign = metadata.namespace != backend.namespace;
                found.extend(ports.into_iter().filter_map(|port| {
                    Some(Selected { foreign, service, number: port_number(port.port)?, port })
                }));
            }
        }
    }
    Ok(found.into_iter())
}

/// Whether a Backend of the second namespace may select Services in the first.
fn opened<'a>(scene: &Scene<'a>, selector: &'a LabelSelector) -> impl Fn(&str, &str) -> bool + use<'a> {
    let opt_in = scene.options().namespace_opt_in.clone();
    let objects = scene.objects;
    move |namespace: &str, own: &str| {
        let labels = super::listeners::namespace_labels(objects, namespace);
        let open = namespace == own || opt_in.as_ref().is_none_or(|label| labels.contains_key(label));
        open && selects(selector, &labels)
    }
}

impl Selected<'_> {
    /// The target, under a name that is not in `taken`.
    fn member(
        &self,
        scene: &Scene<'_>,
        taken: &mut BTreeSet<TargetName>,
        remarks: &mut Vec<String>,
        told: &mut Told,
    ) -> Result<Member, String> {
        let key = self.service.metadata.key();
        let source = format!("Service {key}:{}", self.number);
        let [short, long] = self.names(remarks);
        let long = || long.filter(|_| self.foreign);
        let Some(name) = short
            .filter(|name| !taken.contains(name))
            .or_else(long)
            .filter(|name| taken.insert(name.clone()))
        else {
            return Err(format!("{source} is left out: another target has its name"));
        };
        let sse = Spoken::at(self.port) == Spoken::McpSse;
        let path = self.path(if sse { "/sse" } else { "/mcp" }, remarks);
        let Reach { reached, authority } = reach(scene, self.service, self.port, self.number, told);
        let target = Target {
            endpoints: reached.endpoints.clone(),
            protocol: if sse { Protocol::Sse } else { Protocol::Auto },
            ..Target::named(name, &authority, path)
        };
        Ok(Member { target, source, reached })
    }

    /// `service-port`, or what an annotation says; and the same with the namespace in front, which one from another
    /// namespace gets if the first is taken.
    fn names(&self, remarks: &mut Vec<String>) -> [Option<TargetName>; 2] {
        let metadata = &self.service.metadata;
        let port = match self.port.name.as_str() {
            "" => self.number.to_string(),
            name => name.to_owned(),
        };
        let usual = format!("{}-{port}", metadata.name);
        let base = match metadata.annotations.get("agentgateway.dev/mcp-target-name") {
            None => usual,
            Some(chosen) if target_name(chosen).is_none() => {
                remarks.push(format!("Service {}: {chosen:?} is no name for a target", metadata.key()));
                usual
            }
            // One name for several ports needs the port behind it.
            Some(chosen)
                if self.service.spec.ports.iter().filter(|port| Spoken::at(port).is_mcp()).count() > 1 =>
            {
                format!("{chosen}-{port}")
            }
            Some(chosen) => chosen.clone(),
        };
        [target_name(&base), target_name(&format!("{}-{base}", metadata.namespace))]
    }

    fn path<'s>(&'s self, usual: &'s str, remarks: &mut Vec<String>) -> &'s str {
        let annotations = &self.service.metadata.annotations;
        let chosen = ["kgateway.dev/mcp-path", "agentgateway.dev/mcp-path"]
            .iter()
            .find_map(|key| annotations.get(*key));
        match chosen {
            Some(path) if is_path(path) => path,
            Some(path) => {
                remarks.push(format!("Service {}: {path:?} is no path", self.service.metadata.key()));
                usual
            }
            None => usual,
        }
    }
}

/// Whether `text` may stand in a request line.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// The target name for what two names of Kubernetes are joined to. It depends on nothing else: what is too long is cut
/// and ends with a digest of the whole.
pub(super) fn target_name(text: &str) -> Option<TargetName> {
    match text.len() {
        0..=63 => TargetName::derive(text).ok(),
        _ => {
            let digest = digest(text);
            let digest = format!("{:08x}", (digest >> 32) as u32 ^ digest as u32);
            let head = text.get(..text.floor_char_boundary(54))?.trim_end_matches('-');
            TargetName::derive(&format!("{head}-{digest}")).ok()
        }
    }
}
