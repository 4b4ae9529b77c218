//! A port of a Service as something to be reached.

use super::endpoints::{Reached, join};
use super::{Scene, Told};
use crate::objects::{Service, ServicePort, TargetPort};
use std::net::{IpAddr, SocketAddr};

/// What is spoken at a port, by its `appProtocol`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    /// Streamable HTTP.
    Mcp,
    /// HTTP+SSE of 2024-11-05.
    McpSse,
    /// HTTP/1.1, as far as anybody says.
    Http,
    /// Something that requests can't be passed to.
    Other,
}

impl Spoken {
    pub(super) fn at(port: &ServicePort) -> Self {
        if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            return Self::Other;
        }
        match port.app_protocol.as_deref().unwrap_or_default() {
            "kgateway.dev/mcp" | "agentgateway.dev/mcp" => Self::Mcp,
            "kgateway.dev/mcp-sse" | "agentgateway.dev/mcp-sse" => Self::McpSse,
            // Names of Kubernetes' and of IANA for what is not plain HTTP/1.1.
            "https" | "grpc" => Self::Other,
            name if name.starts_with("kubernetes.io/") => Self::Other,
            _ => Self::Http,
        }
    }

    pub(super) fn is_mcp(self) -> bool {
        matches!(self, Self::Mcp | Self::McpSse)
    }
}

/// Its DNS name elsewhere.
pub(super) const EXTERNAL_NAME: &str = "ExternalName";

/// The number of a port, if it is one.
pub(super) fn port_number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Where a port of a Service is reached, and as what.
pub(super) struct Reach {
    pub(super) reached: Reached,
    /// The `Host` field: the name under which the Service is known in the cluster. A server that only takes requests
    /// for `localhost` listens there alone and can't be reached at a pod's address anyway, so its guard is not met; one
    /// with a list of names has this one in it. On a laptop it is the host that was named for the Service.
    pub(super) authority: String,
}

/// Reaches `port` of `service`, which has that number.
pub(super) fn reach(
    scene: &Scene<'_>,
    service: &Service,
    port: &ServicePort,
    number: u16,
    told: &mut Told,
) -> Reach {
    let key = service.metadata.key();
    let name = format!("{}.{}.svc.{}", key.name, key.namespace, scene.options().cluster_domain);
    match scene.slices.of_service(&key.namespace, &key.name) {
        Some(slices) => {
            let zone = scene.options().zone.as_deref();
            let reached = join(slices, &port.name, &service.spec.ip_families, zone);
            Reach { reached, authority: format!("{name}:{number}") }
        }
        None if !scene.options().from_files => {
            Reach { reached: Reached::default(), authority: format!("{name}:{number}") }
        }
        None => {
            let resolve = &scene.options().resolve;
            match resolve.get(&key.to_string()).or_else(|| resolve.get(&key.name)) {
                // The process itself, so at its own port.
                Some(host) => at_host(scene, host, own_number(port).unwrap_or(number), told),
                None => at_host(scene, &name, number, told),
            }
        }
    }
}

fn own_number(port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        Some(TargetPort::Number(number)) => port_number(*number),
        Some(TargetPort::Name(_)) | None => None,
    }
}

/// Reaches `host`, which may be an address and may have a port of its own.
pub(super) fn at_host(scene: &Scene<'_>, host: &str, port: u16, told: &mut Told) -> Reach {
    let address = host.parse::<SocketAddr>().ok().or_else(|| Some(SocketAddr::new(ip(host)?, port)));
    if let Some(address) = address {
        return Reach { reached: Reached::at(vec![address]), authority: address.to_string() };
    }
    let own = host.rsplit_once(':').and_then(|(name, own)| Some((name, own.parse().ok()?)));
    let (name, port) = own.unwrap_or((host, port));
    Reach { reached: Reached::at(scene.resolved(name, port, told)), authority: format!("{name}:{port}") }
}

/// An address, with the brackets of a URL or without.
pub(super) fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Whether `text` may stand in a `Host` field as a name.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(legal)
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}
