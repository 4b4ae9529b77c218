//! Publishes the objects: not before all is there, and not for each change by itself.

use super::Timing;
use super::store::Store;
use super::vitals::Vitals;
use crate::objects::Objects;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// When it is first said what is missing, and how often after that.
const PATIENCE: Duration = Duration::from_secs(5);
const REMINDER: Duration = Duration::from_secs(60);

/// Publishes until nobody listens any more.
pub(super) async fn run(
    store: Arc<Store>,
    vitals: Arc<Vitals>,
    publish: watch::Sender<Option<Arc<Objects>>>,
    timing: Arc<Timing>,
) {
    all_read(&store, &vitals).await;
    while !publish.is_closed() {
        let objects = store.news(&timing).await;
        vitals.published(&objects);
        publish.send_replace(Some(Arc::new(objects)));
    }
}

/// Waits until all that must be there has been read: half of a cluster would look like one from which the rest was deleted.
async fn all_read(store: &Store, vitals: &Vitals) {
    let mut remind = Instant::now() + PATIENCE;
    while !vitals.all_synced() {
        tokio::select! {
            () = store.changed() => {}
            () = sleep_until(remind) => {
                remind += REMINDER;
                let missing = vitals.board().waiting_for().join("; ");
                tracing::warn!(%missing, "nothing is served before all of the cluster has been read");
            }
        }
    }
}
