//! The copy of the cluster's objects, and when it is worth looking at.

use super::Timing;
use crate::objects::Objects;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The objects as they are now.
#[derive(Debug, Default)]
pub(super) struct Store {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    news: Option<News>,
}

/// Changes nobody has been told of yet.
#[derive(Clone, Copy, Debug)]
struct News {
    first: Instant,
    last: Instant,
}

impl News {
    /// When to tell: after some quiet, so that what comes together is seen together, but no later than the limit.
    fn due(self, timing: &Timing) -> Instant {
        (self.last + timing.quiet).min(self.first + timing.latest)
    }
}

impl Store {
    /// Changes the objects.
    pub(super) fn change(&self, change: impl FnOnce(&mut Objects)) {
        let mut state = self.state();
        change(&mut state.objects);
        let now = Instant::now();
        state.news = Some(News { first: state.news.map_or(now, |news| news.first), last: now });
        self.changed.notify_one();
    }

    /// Looks at the objects.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.state().objects)
    }

    /// Waits for the next change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until there are changes that should be told, and gives the objects as they are then.
    pub(super) async fn news(&self, timing: &Timing) -> Objects {
        loop {
            let due = self.state().news.map(|news| news.due(timing));
            match due {
                None => self.changed().await,
                Some(due) if due > Instant::now() => sleep_until(due).await,
                Some(_) => {
                    let mut state = self.state();
                    state.news = None;
                    return state.objects.clone();
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Objects are put and removed one by one: what a panic left is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{advance, timeout};

    /// Waits for news, in virtual time: how long it took.
    async fn wait(store: &Store, timing: &Timing) -> Duration {
        let began = Instant::now();
        store.news(timing).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_news_after_some_quiet() {
        let (store, timing) = (Store::default(), Timing::default());
        store.change(|_| ());
        assert!((50..=60).contains(&wait(&store, &timing).await.as_millis()));
        assert!(timeout(Duration::from_secs(3600), store.news(&timing)).await.is_err(), "nothing new");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_end_are_news_after_the_limit() {
        let (store, timing) = (Store::default(), Timing::default());
        let changes = async {
            loop {
                store.change(|_| ());
                advance(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::select! {
            waited = wait(&store, &timing) => waited,
            () = changes => unreachable!(),
        };
        assert!((960..=1050).contains(&waited.as_millis()), "{waited:?}");
    }
}
