//! Kubernetes manifests as `--config`, without a cluster.

use crate::gateway::{File, Gateway, PATIENCE, output, own_address, runtimes, text};
use crate::talk::{Talk, status};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

/// The manifests of the walk that users know, one file each.
const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/k8s-adapter/tests/seed/");

/// The manifests of one of its walks in one file, with the Gateway's port as it is wanted.
fn seed(walk: &str, port: u16) -> String {
    let read = |part| std::fs::read_to_string(format!("{SEED}{walk}-{part}.yaml")).unwrap();
    let parts = ["server", "backend", "gateway", "route"].map(read);
    parts.join("\n---\n").replace("port: 8080", &format!("port: {port}"))
}

/// A gateway whose Gateways listen at `at`, and its Service `mcp-server` where `server` is.
fn start(config: &str, at: SocketAddr, server: &Gateway, more: &[&str]) -> Gateway {
    let (listen, resolve) = (format!("--listen={at}"), format!("--resolve=mcp-server={}", server.endpoint));
    Gateway::start(&[&["--config", config, &listen, &resolve], more].concat())
}

const TOOLS: [&str; 4] = ["clock_now", "clock_wait", "notes_add", "notes_list"];

#[test]
fn a_folder_of_the_seeds_files_is_checked_as_it_is() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-seed", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for part in ["server", "backend", "gateway", "route"] {
        let name = format!("multiplex-{part}.yaml");
        std::fs::copy(format!("{SEED}{name}"), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("notes.txt"), "no manifest").unwrap();
    let config = folder.to_str().unwrap();
    let check = |more: &[&str]| output(&[&["check", "--config", config, "--workers=3"], more].concat());
    let good = check(&["--resolve=mcp-server=127.0.0.1", "--listen=127.0.0.7:1"]);
    let without_server = folder.join("multiplex-server.yaml");
    std::fs::remove_file(&without_server).unwrap();
    let bad = check(&[]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        text(&good.stdout),
        format!(
            "note: {}:1: Deployment mcp-server (apps/v1) is skipped: it has no meaning here\n\
             admin      http://127.0.0.1:9901\n\
             runtime    tokio\n\
             workers    3\n\
             shutdown   10s\n\
             listeners  1\n  http://127.0.0.7:8080\n\
             targets    2\n  \
             default/mcp-backend/mcp-server-mcp-server      /mcp at 127.0.0.1:3001\n  \
             default/mcp-backend/mcp-server-mcp-everything  /mcp at 127.0.0.1:3002\n\
             problems   0\n",
            without_server.display()
        )
    );
    assert_eq!((good.status.code(), bad.status.code()), (Some(0), Some(0)));
    assert!(text(&bad.stdout).contains("targets    0\n"), "{}", text(&bad.stdout));
}

#[test]
fn the_seeds_manifests_are_served() {
    let server = Gateway::start(&[]);
    for runtime in runtimes() {
        let at = own_address();
        let file = File::new(&format!("seed-{runtime}.yaml"), &seed("dynamic", at.port()));
        let gateway = start(file.path(), at, &server, &[&format!("--runtime={runtime}"), "--workers=2"]);
        assert_eq!(gateway.endpoint, at);
        assert_eq!(Talk::begin(at).tools(), TOOLS, "on {runtime}");
        assert_eq!(gateway.admin("/readyz"), (200, "ready\n".to_owned()));
        for (name, value) in [
            ("mcp_gateway_listeners{state=\"bound\"}", 1),
            ("mcp_gateway_backends", 1),
            ("mcp_gateway_targets", 1),
            ("mcp_gateway_endpoints", 1),
            ("mcp_gateway_rules", 1),
        ] {
            assert_eq!(gateway.metric(name), value, "{name}");
        }
        // Only names that the manifests say, or that nobody else can have.
        let loopback = format!("localhost:{}", at.port());
        assert_eq!(["rebound.example", &loopback].map(|host| status(at, host)), [403, 400]);
        assert_eq!(gateway.end("-TERM"), Some(0));
    }
}

/// Takes the two seconds that the call takes.
#[test]
fn a_listener_moves_and_calls_under_way_are_answered() {
    let server = Gateway::start(&[]);
    for runtime in runtimes() {
        let (old, new) = (own_address(), own_address());
        let new = SocketAddr::new(old.ip(), new.port());
        let file = File::new(&format!("move-{runtime}.yaml"), &seed("dynamic", old.port()));
        let gateway = start(file.path(), old, &server, &[&format!("--runtime={runtime}"), "--workers=2"]);
        let talk = Talk::begin(old);
        let mut call = talk.slow_call("clock_wait");
        let mut idle = TcpStream::connect(old).unwrap();

        file.write(&seed("dynamic", new.port()));
        gateway.signal("-HUP");
        gateway.logged("configuration reloaded");
        assert_eq!(Talk::begin(new).tools(), TOOLS, "on {runtime}");
        // Who has nothing under way is let go, and the call is answered.
        idle.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "on {runtime}");
        assert!(TcpStream::connect(old).is_err(), "on {runtime}");
        let mut rest = String::new();
        call.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(r#""text":"waited 2 s""#), "{rest}");
        assert_eq!(gateway.metric("mcp_gateway_listeners{state=\"bound\"}"), 1);
        assert_eq!(gateway.end("-TERM"), Some(0));
    }
}

#[test]
fn a_bad_file_keeps_the_last_good() {
    let (server, at) = (Gateway::start(&[]), own_address());
    let file = File::new("worse.yaml", &seed("dynamic", at.port()));
    let gateway = start(file.path(), at, &server, &[]);
    file.write("apiVersion: v1\nkind: Service\nmetadata: [\n");
    gateway.signal("-HUP");
    let refused = gateway.logged("configuration not reloaded, the old one stays in force");
    assert!(refused["problem"].as_str().unwrap().starts_with(file.path()), "{refused}");
    assert_eq!(Talk::begin(at).tools(), TOOLS);
    assert_eq!(gateway.metric("mcp_gateway_config_current"), 0);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn manifests_do_not_become_a_configuration_while_it_runs() {
    let at = own_address();
    let file = File::new("turned.yaml", &seed("dynamic", at.port()));
    let gateway = Gateway::start(&["--config", file.path(), &format!("--listen={at}")]);
    file.write("mcpServers: {}\n");
    gateway.signal("-HUP");
    let refused = gateway.logged("configuration not reloaded, the old one stays in force");
    let problem = "--config: from a configuration to Kubernetes manifests, or back, it takes a restart";
    assert_eq!(refused["problem"], problem);
    assert_eq!(gateway.metric("mcp_gateway_listeners{state=\"bound\"}"), 1);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

/// Takes the five seconds after which an address is tried again.
#[test]
fn an_address_that_is_taken_is_told_and_tried_again() {
    let (server, at) = (Gateway::start(&[]), own_address());
    let taken = TcpListener::bind(at).unwrap();
    let file = File::new("taken.yaml", &seed("dynamic", at.port()));
    let gateway = start(file.path(), at, &server, &[]);
    let reason = format!(
        "{at} is in use by another program, perhaps another gateway; stop that one, or choose an address with \
         --listen, or another port in the Gateway"
    );
    assert_eq!(gateway.admin("/readyz"), (503, format!("not ready\n{reason}\n")));
    assert_eq!(gateway.metric("mcp_gateway_listeners{state=\"unbound\"}"), 1);
    drop(taken);
    gateway.until("/readyz", |status, _| (status == 200).then_some(()));
    assert_eq!(gateway.metric("mcp_gateway_listeners{state=\"unbound\"}"), 0);
    assert_eq!(Talk::begin(at).tools(), TOOLS);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn flags_that_mean_nothing_with_manifests_are_refused() {
    let file = File::new("flags.yaml", &seed("dynamic", 8080));
    let own = File::new("flags-own.yaml", "mcpServers: {}\n");
    for (arguments, problem) in [
        (
            ["check", "--config", file.path(), "--target=a=http://127.0.0.1/"],
            "mcpServers, --target: targets are Backends where Kubernetes objects say what is served",
        ),
        (
            ["check", "--config", own.path(), "--resolve=a=127.0.0.1"],
            "--resolve: is for Services of Kubernetes manifests, of which --config names none",
        ),
        (
            ["stdio", "--config", file.path(), "--admin=off"],
            "stdio: Kubernetes manifests say at which ports to serve, standard input is none of them",
        ),
    ] {
        let refused = output(&arguments);
        assert_eq!(
            (refused.status.code(), text(&refused.stderr)),
            (Some(2), &*format!("error: {problem}\n"))
        );
    }
}
