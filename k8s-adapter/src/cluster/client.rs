//! Where the cluster is, and how to get in.

use super::{ClusterOptions, Timing};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::env;
use std::error::Error;
use std::fmt;

/// The configuration can't be used. Its text says what was tried, and what else could be.
#[derive(Debug)]
pub struct ConnectError(String);

impl fmt::Display for ConnectError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for ConnectError {}

/// Makes a client, and tells the address it will use. Connects to nothing yet.
pub(super) async fn connect(options: &ClusterOptions) -> Result<(Client, String), ConnectError> {
    let mut config = find(options).await?;
    adjust(&mut config, &options.timing);
    let address = config.cluster_url.to_string();
    let client = Client::try_from(config)
        .map_err(|error| ConnectError(format!("no client for the Kubernetes API at {address}: {error}")))?;
    Ok((client, address))
}

/// The file that was named, else what a pod is given, else the file that kubectl would use.
async fn find(options: &ClusterOptions) -> Result<Config, ConnectError> {
    let in_pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if options.kubeconfig.is_none() && options.context.is_none() && in_pod {
        return Config::incluster().map_err(|error| {
            ConnectError(format!(
                "this is a pod, but its service account can't be used: {error}. \
                 Is automountServiceAccountToken switched off?"
            ))
        });
    }
    let (file, place) = match &options.kubeconfig {
        Some(path) => (Kubeconfig::read_from(path), path.display().to_string()),
        None => (Kubeconfig::read(), "$KUBECONFIG or ~/.kube/config".to_owned()),
    };
    let selection = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let config = match file {
        Ok(file) => Config::from_custom_kubeconfig(file, &selection).await,
        Err(error) => Err(error),
    };
    config.map_err(|error| {
        let hint = if options.kubeconfig.is_none() && !in_pod {
            ". This is not a pod either; name a file with --kubeconfig"
        } else {
            ""
        };
        ConnectError(format!("no access to a Kubernetes cluster by {place}: {error}{hint}"))
    })
}

/// The defaults are those of a tool; a watch that died must be noticed sooner.
fn adjust(config: &mut Config, timing: &Timing) {
    config.connect_timeout = Some(timing.connect);
    // Above the longest watch, which has a limit of its own: this is for what is forgotten.
    config.read_timeout = Some(timing.watch * 4 / 3 + timing.grace * 2);
    // A pooled connection may have been idle for longer than that.
    config.reset_reader_on_write = true;
    // Each request has its own rules for another attempt.
    config.default_retry = false;
    if let Some(proxy) = config.proxy_url.take() {
        tracing::warn!(%proxy, "the Kubernetes API is asked directly: proxies are not supported");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let options =
            ClusterOptions { kubeconfig: Some(PathBuf::from("/no/such/file")), ..ClusterOptions::default() };
        let text = connect(&options).await.err().unwrap().to_string();
        assert!(text.starts_with("no access to a Kubernetes cluster by /no/such/file: "), "{text}");
        assert!(!text.contains("--kubeconfig"), "it was named already");
    }
}
