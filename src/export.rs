//! `mcp-gateway export`: the Kubernetes manifests that serve what a configuration serves.
//!
//! ```text
//! Settings ─► Gateway (its port) ─► HTTPRoute ─► Backend (a static target for each server)
//!         └─► what has no place in manifests, as comments on top
//! ```

use crate::config::{self, Server, Settings};
use crate::{EXIT_USAGE, Failure, arguments, say};
use routing::{Forwarding, Protocol, Timeouts};
use std::fmt::Write;
use std::io;
use std::process::ExitCode;

/// Prints a configuration as manifests; what is not in them goes to standard error, too.
pub(crate) fn run(from: &arguments::Export) -> Result<ExitCode, Failure> {
    let (settings, _) = config::read_file(&from.config)?;
    let export = export(&settings).map_err(|problem| Failure::new(EXIT_USAGE, problem))?;
    for line in &export.missing {
        say(io::stderr(), &format!("note: {line}"));
    }
    say(io::stdout(), export.manifests.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// What was written, and what was not.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Export {
    /// YAML, several documents.
    manifests: String,
    /// What of the configuration is not in them, and why; they say it, too.
    missing: Vec<String>,
}

/// The manifests for `settings`. They name no namespace: `kubectl apply --namespace` does.
///
/// # Errors
/// When no server of the configuration can be written as a target.
fn export(settings: &Settings) -> Result<Export, String> {
    let mut missing = Vec::new();
    let mut targets = String::new();
    for server in &settings.servers {
        match &server.host {
            Some((host, port)) => {
                target(&mut targets, server, host, *port);
                missing.extend(missing_of(server, host, settings.target_timeouts));
            }
            None => missing.push(format!(
                "{}: left out, since it is a program; serve it in the cluster and add its address",
                server.target.name()
            )),
        }
    }
    if targets.is_empty() {
        return Err("no server of the configuration has a URL: there is nothing to export".to_owned());
    }
    let mut manifests = String::new();
    for line in &missing {
        _ = writeln!(manifests, "# {line}");
    }
    _ = write!(manifests, "{}{ROUTE}{BACKEND}{targets}", gateway(settings.listen.port()));
    Ok(Export { manifests, missing })
}

fn gateway(port: u16) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: agentgateway
spec:
  gatewayClassName: agentgateway
  listeners:
    - name: http
      protocol: HTTP
      port: {port}
"
    )
}

const ROUTE: &str = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: mcp
spec:
  parentRefs:
    - name: agentgateway
  rules:
    - backendRefs:
        - group: gateway.kgateway.dev
          kind: Backend
          name: mcp-backend
";

const BACKEND: &str = "\
---
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata:
  name: mcp-backend
spec:
  type: MCP
  mcp:
    targets:
";

fn target(to: &mut String, server: &Server, host: &str, port: u16) {
    let protocol = match server.target.protocol {
        Protocol::Sse => "SSE",
        Protocol::Auto | Protocol::Modern | Protocol::Legacy => "StreamableHTTP",
    };
    // A JSON string is a YAML one.
    let [host, path] = [host, &server.target.path].map(|text| serde_json::Value::from(text).to_string());
    _ = write!(
        to,
        "      - name: {}
        static:
          host: {host}
          port: {port}
          path: {path}
          protocol: {protocol}
",
        server.target.name()
    );
}

/// What a target in a manifest has no words for. Values of header fields are not shown: they often are secrets.
fn missing_of(server: &Server, host: &str, timeouts: Timeouts) -> Vec<String> {
    let target = &server.target;
    let mut missing = Vec::new();
    let mut tell = |what: &str| missing.push(format!("{}: {what}", target.name()));
    if is_this_machine(host) {
        tell(&format!("{host} is another machine in a cluster; change its host"));
    }
    if !target.headers.is_empty() {
        let names: Vec<&str> = target.headers.iter().map(|(name, _)| name.as_str()).collect();
        tell(&format!("its header fields are left out ({})", names.join(", ")));
    }
    if target.forward != Forwarding::default() {
        tell(&format!("fields of clients are not forwarded ({})", target.forward.fields.join(", ")));
    }
    if target.timeouts != timeouts || timeouts != Timeouts::default() {
        tell("its timeouts are left out");
    }
    if matches!(target.protocol, Protocol::Modern | Protocol::Legacy) {
        tell("its protocol is found out by asking it");
    }
    missing
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_adapter::build::{Inputs, Options, build};
    use k8s_adapter::manifests;
    use k8s_adapter::objects::Objects;
    use routing::Target;
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    fn server(name: &str, url: &str) -> Server {
        Server::new(name, url, Timeouts::default()).unwrap()
    }

    #[test]
    fn writes_a_gateway_a_route_and_a_backend() {
        let mut old = server("old", "http://old.example:3002/sse");
        old.target.protocol = Protocol::Sse;
        let settings = Settings {
            listen: "0.0.0.0:8088".parse().unwrap(),
            servers: vec![server("Brave_Search", "http://search.example/mcp?x=1"), old],
            ..Settings::default()
        };
        let Export { manifests, missing } = export(&settings).unwrap();
        assert_eq!(missing, [""; 0]);
        assert_eq!(
            manifests,
            format!(
                "{}{ROUTE}{BACKEND}      - name: brave-search
        static:
          host: \"search.example\"
          port: 80
          path: \"/mcp?x=1\"
          protocol: StreamableHTTP
      - name: old
        static:
          host: \"old.example\"
          port: 3002
          path: \"/sse\"
          protocol: SSE
",
                gateway(8088)
            )
        );
    }

    #[test]
    fn what_it_writes_is_served_as_the_configuration_is() {
        let mut old = server("old", "http://192.0.2.2:3002/sse");
        old.target.protocol = Protocol::Sse;
        let servers =
            vec![server("a", "http://192.0.2.1:3001/a/mcp?b=c"), old, server("six", "http://[2001:db8::1]/")];
        let settings = Settings {
            listen: "127.0.0.1:8088".parse().unwrap(),
            servers: servers.clone(),
            ..Settings::default()
        };
        let mut objects = Objects::default();
        let manifests = export(&settings).unwrap().manifests;
        assert_eq!(manifests::read("export", &manifests, &mut objects), Ok(vec![]));
        let options = Options { from_files: true, bind: settings.listen.ip(), ..Options::default() };
        let (hosts, observed, unbound) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let built = build(&Inputs {
            objects: &objects,
            options: &options,
            hosts: &hosts,
            observed: &observed,
            unbound: &unbound,
            before: None,
        });
        assert_eq!(built.routes.addresses().collect::<Vec<_>>(), [settings.listen]);
        let served: Vec<_> = built
            .routes
            .all_targets()
            .map(|target| {
                let Target { authority, path, protocol, endpoints, .. } = &**target;
                let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                (target.name().clone(), authority.clone(), path.clone(), *protocol, addresses)
            })
            .collect();
        let expected = servers.into_iter().map(|Server { target, host, .. }| {
            let (host, port) = host.unwrap();
            let address = SocketAddr::new(host.parse().unwrap(), port);
            let authority = address.to_string();
            (target.name().clone(), authority, target.path, target.protocol, vec![address])
        });
        assert_eq!(served, expected.collect::<Vec<_>>());
    }

    #[test]
    fn tells_what_it_can_not_write() {
        let mut busy = server("busy", "http://[::1]:3001/mcp");
        busy.target.headers = vec![("authorization".to_owned(), "secret".to_owned())];
        busy.target.forward.fields = vec!["x-trace".to_owned()];
        busy.target.timeouts.connect *= 2;
        busy.target.protocol = Protocol::Modern;
        let mut program = server("program", "http://a/");
        program.host = None;
        let settings = Settings { servers: vec![busy, program.clone()], ..Settings::default() };
        let Export { manifests, missing } = export(&settings).unwrap();
        assert_eq!(
            missing,
            [
                "busy: ::1 is another machine in a cluster; change its host",
                "busy: its header fields are left out (authorization)",
                "busy: fields of clients are not forwarded (x-trace)",
                "busy: its timeouts are left out",
                "busy: its protocol is found out by asking it",
                "program: left out, since it is a program; serve it in the cluster and add its address",
            ]
        );
        let comments: Vec<&str> = manifests.lines().map_while(|line| line.strip_prefix("# ")).collect();
        assert_eq!(comments, missing);
        assert!(!manifests.contains("secret"));

        let nothing = Settings { servers: vec![program], ..Settings::default() };
        assert!(export(&nothing).is_err());
    }
}
