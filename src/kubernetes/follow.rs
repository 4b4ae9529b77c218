//! The flags that say which cluster is followed, and what of it.

use clap::Args;
use k8s_adapter::build::{CONTROLLER_NAME, Options, Publish, StatusAddress};
use k8s_adapter::cluster::{ClusterOptions, Election};
use k8s_adapter::objects::Key;
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::PathBuf;

/// Where a pod finds the name of its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Which cluster, and what of it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Follow {
    /// File with the cluster's address and credentials [default: what the pod is given, else $KUBECONFIG, else
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of that file [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace to read, instead of all; may be repeated
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// GatewayClasses that name this controller are ours
    #[arg(long, value_name = "DOMAIN/PATH", default_value = CONTROLLER_NAME)]
    controller_name: String,
    /// Gateway to serve, instead of all of our GatewayClasses; may be repeated
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = key)]
    gateway: Vec<Key>,
    /// Service whose addresses the Gateways report: those of its load balancer, else its own
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = key, conflicts_with = "publish_address")]
    publish_service: Option<Key>,
    /// Address or name that the Gateways report; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    publish_address: Vec<StatusAddress>,
    /// Local address to listen at, for Gateways that ask for none [default: all]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Zone of this gateway, whose endpoints are preferred where EndpointSlices hint at it [default: $NODE_ZONE]
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// How names of Services end in this cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Label that a namespace must carry for Backends of other namespaces to select Services in it [default: none]
    #[arg(long, value_name = "LABEL")]
    namespace_opt_in: Option<String>,
    /// Write no status, and take no Lease
    #[arg(long, alias = "read-only")]
    no_status: bool,
    /// Namespace of the Lease that decides which replica writes status [default: $POD_NAMESPACE, else the pod's own,
    /// else "default"]
    #[arg(long, value_name = "NAME")]
    lease_namespace: Option<String>,
    /// Name of that Lease, shared by replicas that serve the same Gateways [default: "mcp-gateway", and the Gateway if
    /// one is named]
    #[arg(long, value_name = "NAME")]
    lease_name: Option<String>,
}

impl Follow {
    /// What is made of the cluster's objects.
    pub(super) fn options(&self) -> Options {
        let publish = match &self.publish_service {
            Some(service) => Publish::Service(service.clone()),
            None => Publish::Addresses(self.publish_address.clone()),
        };
        Options {
            controller_name: self.controller_name.clone(),
            gateways: self.gateway.clone(),
            namespaces: self.namespace.clone(),
            bind: self.bind(),
            publish,
            zone: self.zone.clone().or_else(|| variable("NODE_ZONE")),
            cluster_domain: self.cluster_domain.clone(),
            namespace_opt_in: self.namespace_opt_in.clone(),
            ..Options::default()
        }
    }

    /// How the cluster is followed. `random` makes this replica's name unlike any other's.
    pub(super) fn cluster(&self, random: [u8; 4]) -> ClusterOptions {
        let name =
            variable("POD_NAME").or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "mcp-gateway".to_owned());
        let election = Election {
            namespace: self.lease_namespace.clone().unwrap_or_else(own_namespace),
            name: self.lease_name.clone().unwrap_or_else(|| self.lease()),
            identity: format!("{name}_{:08x}", u32::from_be_bytes(random)),
        };
        ClusterOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespaces: self.namespace.clone(),
            controller_name: self.controller_name.clone(),
            write_status: !self.no_status,
            election: Some(election),
            ..ClusterOptions::default()
        }
    }

    /// Where Gateways listen that ask for no address.
    pub(crate) fn bind(&self) -> IpAddr {
        // One socket for both families, where the machine has both.
        let all = || match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
            Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
            Err(_) => Ipv4Addr::UNSPECIFIED.into(),
        };
        self.bind.unwrap_or_else(all)
    }

    fn lease(&self) -> String {
        match self.gateway.as_slice() {
            [gateway] => format!("mcp-gateway-{}-{}", gateway.namespace, gateway.name),
            _ => "mcp-gateway".to_owned(),
        }
    }
}

fn own_namespace() -> String {
    let told = || std::fs::read_to_string(OWN_NAMESPACE).ok().map(|text| text.trim().to_owned());
    variable("POD_NAMESPACE").or_else(told).unwrap_or_else(|| "default".to_owned())
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn key(text: &str) -> Result<Key, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Key::new(namespace, name))
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what clap wants of a parser")]
fn address(text: &str) -> Result<StatusAddress, String> {
    Ok(text.parse().map_or_else(|_| StatusAddress::Hostname(text.to_owned()), StatusAddress::Ip))
}
