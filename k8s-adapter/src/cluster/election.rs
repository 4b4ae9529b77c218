//! Which replica writes statuses: the one that holds the Lease.

use super::api::{Api, Failure};
use super::backoff::Backoff;
use super::lease::{Lease, Standing, Step};
use super::vitals::Vitals;
use super::{Election, Timing};
use kube::core::Request;
use kube::core::params::{GetParams, PostParams};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// No wait, and no limit, is shorter: a term that ends now must not become a busy loop.
const SHORTEST: Duration = Duration::from_millis(100);

/// A replica that would lead.
pub(super) struct Candidate {
    election: Election,
    api: Api,
    timing: Arc<Timing>,
    vitals: Arc<Vitals>,
    standing: Standing,
    backoff: Backoff,
    lead: watch::Sender<bool>,
    problem: String,
}

impl Candidate {
    /// Whether it leads is told through `lead`.
    pub(super) fn new(
        election: Election,
        api: Api,
        timing: Arc<Timing>,
        vitals: Arc<Vitals>,
        lead: watch::Sender<bool>,
    ) -> Self {
        let standing = Standing::new(election.identity.clone(), timing.lease);
        let backoff = Backoff::new(timing.retry, timing.renew);
        Self { election, api, timing, vitals, standing, backoff, lead, problem: String::new() }
    }

    /// Takes part until it is told to leave, and then gives the Lease back.
    pub(super) async fn run(mut self, mut leaving: watch::Receiver<bool>) {
        tokio::select! {
            () = self.take_part() => {}
            _ = leaving.wait_for(|leaving| *leaving) => {}
        }
        self.lead.send_replace(false);
        self.vitals.lead(false);
        if self.standing.leads(Instant::now()) {
            // Who does not succeed in time lets it expire.
            let _released = timeout(self.timing.renew, self.release()).await;
        }
    }

    async fn take_part(&mut self) {
        loop {
            // Bounded, so that a leader whose server does not answer steps down in time.
            let limit = self.timing.renew.min(self.term()).max(SHORTEST);
            let turn = timeout(limit, self.turn()).await.unwrap_or(Err(Failure::Silent(limit)));
            let wait = match turn {
                Ok(wait) => {
                    self.problem.clear();
                    self.backoff.reset();
                    wait
                }
                Err(failure) => self.failed(&failure),
            };
            self.tell();
            sleep(wait).await;
        }
    }

    /// Looks at the Lease, and writes it if it is, or may be, ours. How long until the next turn.
    async fn turn(&mut self) -> Result<Duration, Failure> {
        let asked = Instant::now();
        let found = self.read().await?;
        let (lease, new) = match found {
            Some(lease) => (lease, false),
            None => (Lease::new(&self.election.namespace, &self.election.name), true),
        };
        // A little earlier or later than others.
        let next = self.timing.renew.mul_f64(0.8 + 0.2 * self.backoff.random());
        match self.standing.step(&lease, Instant::now()) {
            Step::Wait(time) => Ok(next.min(time + self.timing.retry)),
            Step::Hold => {
                let lease = lease.held_by(&self.election.identity, self.timing.lease);
                match self.write(&lease, new).await {
                    Ok(()) => {
                        self.standing.renewed(asked);
                        Ok(next)
                    }
                    // Somebody was faster: look who.
                    Err(failure) if failure.code() == Some(409) => Ok(self.backoff.wait()),
                    Err(failure) => Err(failure),
                }
            }
        }
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        let problem = failure.to_string();
        if problem != self.problem {
            let lease = format!("{}/{}", self.election.namespace, self.election.name);
            tracing::warn!(%lease, %problem, "no election of the replica that writes statuses; trying again");
            self.problem = problem;
        }
        self.backoff.wait().min(self.term()).max(SHORTEST)
    }

    /// How long we lead if nothing else is heard. Who does not lead has all the time in the world.
    fn term(&self) -> Duration {
        let end = self.standing.leads_until();
        end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    fn tell(&mut self) {
        let leads = self.standing.leads(Instant::now());
        if !leads {
            self.standing.step_down();
        }
        let news = self.lead.send_if_modified(|led| std::mem::replace(led, leads) != leads);
        if news {
            self.vitals.lead(leads);
            let identity = &self.election.identity;
            tracing::info!(%identity, "{}", if leads { "writes statuses now" } else { "writes no statuses any more" });
        }
    }

    async fn release(&self) -> Result<(), Failure> {
        match self.read().await? {
            Some(lease) if lease.holder() == self.election.identity => {
                self.write(&lease.released(), false).await
            }
            _ => Ok(()),
        }
    }

    async fn read(&self) -> Result<Option<Lease>, Failure> {
        let request = self.request().get(&self.election.name, &GetParams::default());
        match self.api.call(request).await {
            Ok(answer) => match Lease::read(&answer) {
                Some(lease) => Ok(Some(lease)),
                None => Err(Failure::Broken("a Lease that is none".to_owned())),
            },
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn write(&self, lease: &Lease, new: bool) -> Result<(), Failure> {
        let (request, params) = (self.request(), PostParams::default());
        let request = match new {
            true => request.create(&params, lease.body()),
            false => request.replace(&self.election.name, &params, lease.body()),
        };
        self.api.call(request).await.map(drop)
    }

    fn request(&self) -> Request {
        let namespace = &self.election.namespace;
        Request::new(format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"))
    }
}
