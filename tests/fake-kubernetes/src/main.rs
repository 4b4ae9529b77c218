//! The fake as a process: `fake-kubernetes [--port N] [--kubeconfig FILE] [MANIFESTS…]`. Prints where it listens and where its
//! kubeconfig is, and serves until it is killed.

use fake_kubernetes::{FakeKubernetes, Timings};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, thread};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (mut port, mut kubeconfig, mut manifests) = (0, None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => match arguments.next().map(|number| number.parse()) {
                Some(Ok(number)) => port = number,
                _ => return refuse("--port takes a number"),
            },
            "--kubeconfig" => match arguments.next() {
                Some(path) => kubeconfig = Some(PathBuf::from(path)),
                None => return refuse("--kubeconfig takes a path"),
            },
            flag if flag.starts_with('-') => return refuse(&format!("unknown: {flag}")),
            path => manifests.push(path.to_owned()),
        }
    }
    let server = FakeKubernetes::start_with(port, Timings::default());
    for path in manifests {
        match fs::read_to_string(&path) {
            Ok(text) => server.apply(&text),
            Err(error) => return refuse(&format!("{path}: {error}")),
        };
    }
    let name = format!("fake-kubernetes-{}.yaml", server.port());
    let kubeconfig = kubeconfig.unwrap_or_else(|| env::temp_dir().join(name));
    if let Err(error) = fs::write(&kubeconfig, server.kubeconfig()) {
        return refuse(&format!("{}: {error}", kubeconfig.display()));
    }
    println!("{}\nKUBECONFIG={}", server.url(), kubeconfig.display());
    loop {
        thread::park();
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}\nusage: fake-kubernetes [--port N] [--kubeconfig FILE] [MANIFESTS…]");
    ExitCode::FAILURE
}
