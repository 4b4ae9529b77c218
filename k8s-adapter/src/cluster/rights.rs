//! Asks the cluster, at the start, what we may do: a missing right is named once instead of being met again and again.

use super::ClusterOptions;
use super::api::{Api, Asked, Failure};
use super::backoff::Backoff;
use super::kind::{self, Kind};
use super::vitals::Vitals;
use kube::core::Request;
use kube::core::params::PostParams;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::sleep;

/// Something we need rights for.
#[derive(Debug, Eq, PartialEq)]
struct Need {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// None: in the whole cluster.
    namespace: Option<String>,
    verbs: &'static [&'static str],
    /// What happens without.
    without: String,
}

/// Asks for every right that is needed, and names those that are missing: in the log, and in the vitals.
pub(super) async fn review(api: Api, options: ClusterOptions, vitals: Arc<Vitals>) {
    let mut backoff = Backoff::new(options.timing.retry, options.timing.retry_most);
    for need in needs(&options) {
        let mut missing = Vec::new();
        for verb in need.verbs {
            match allowed(&api, &need, verb, &mut backoff).await {
                Ok(true) => {}
                Ok(false) => missing.push(*verb),
                Err(failure) => {
                    tracing::debug!(%failure, "whether the cluster gives all the rights that are needed is not known");
                    return;
                }
            }
        }
        if !missing.is_empty() {
            let text = need.told(&missing);
            tracing::warn!("{text}");
            vitals.missing_right(text);
        }
    }
}

/// Asks until there is an answer. An error is one that asking again won't cure.
async fn allowed(api: &Api, need: &Need, verb: &str, backoff: &mut Backoff) -> Result<bool, Failure> {
    loop {
        match api.call(need.question(verb)).await {
            Ok(answer) => {
                backoff.reset();
                let review: Value =
                    serde_json::from_slice(&answer).map_err(|error| Failure::Broken(error.to_string()))?;
                return Ok(review.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or_default());
            }
            Err(failure @ Failure::Refused(_)) if !matches!(failure.code(), Some(429 | 500..)) => {
                return Err(failure);
            }
            Err(_) => sleep(backoff.wait()).await,
        }
    }
}

impl Need {
    fn question(&self, verb: &str) -> Asked {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": self.group,
                "resource": self.resource,
                "subresource": self.subresource,
                "namespace": self.namespace.as_deref().unwrap_or_default(),
                "verb": verb,
            }},
        });
        Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .create(&PostParams::default(), review.to_string().into_bytes())
    }

    fn told(&self, missing: &[&str]) -> String {
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let place = match &self.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        format!("no right to {} {resource} {place}: {}", missing.join(" or "), self.without)
    }
}

fn needs(options: &ClusterOptions) -> Vec<Need> {
    let mut needs = Vec::new();
    for (kind, namespace) in kind::scopes(&options.namespaces) {
        let writes = kind.reports() && options.write_status;
        needs.push(Need {
            group: kind.group(),
            resource: kind.plural(),
            subresource: "",
            namespace: namespace.clone(),
            // A route is read once more before its status is replaced.
            verbs: if writes && kind == Kind::Route { &["get", "list", "watch"] } else { &["list", "watch"] },
            without: kind.use_of_reading().to_owned(),
        });
        if writes {
            needs.push(Need {
                group: kind.group(),
                resource: kind.plural(),
                subresource: "status",
                namespace,
                verbs: if kind == Kind::Route { &["update"] } else { &["patch"] },
                without: format!("no status of a {kind} is written"),
            });
        }
    }
    if options.write_status {
        needs.extend(options.election.as_ref().map(|election| Need {
            group: "coordination.k8s.io",
            resource: "leases",
            subresource: "",
            namespace: Some(election.namespace.clone()),
            verbs: &["get", "create", "update"],
            without: "no replica is elected, and none writes statuses".to_owned(),
        }));
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::super::Election;
    use super::*;

    #[test]
    fn who_only_reads_needs_no_more() {
        let needs = needs(&ClusterOptions::default());
        assert!(needs.iter().all(|need| need.verbs == ["list", "watch"] && need.namespace.is_none()));
        assert_eq!(needs.len(), Kind::ALL.len());
    }

    #[test]
    fn who_writes_needs_statuses_and_the_lease() {
        let election = Election { namespace: "own".into(), name: "l".into(), identity: "i".into() };
        let needs =
            needs(&ClusterOptions { write_status: true, election: Some(election), ..Default::default() });
        let written: Vec<_> =
            needs.iter().filter(|need| need.subresource == "status").map(|need| need.resource).collect();
        assert_eq!(written, ["gatewayclasses", "gateways", "httproutes", "backends"]);
        let lease = needs.last().unwrap();
        assert_eq!(
            lease.told(&["get", "update"]),
            "no right to get or update leases in namespace own: no replica is elected, and none writes statuses"
        );
    }
}
