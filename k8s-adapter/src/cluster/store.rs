//! The copy of the cluster's objects, and when it is worth looking at.

use super::Timing;
use super::item::Item;
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
    /// When the first status changed of which nobody was told.
    statuses: Option<Instant>,
}

impl State {
    fn tell(&mut self) {
        let now = Instant::now();
        self.news = Some(News { first: self.news.map_or(now, |news| news.first), last: now });
    }

    /// When to tell what there is to tell.
    fn due(&self, timing: &Timing) -> Option<Instant> {
        let news = self.news.map(|news| news.due(timing));
        let statuses = self.statuses.map(|first| first + timing.statuses);
        news.into_iter().chain(statuses).min()
    }
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
        state.tell();
        self.changed.notify_one();
    }

    /// Puts one object in its place. Where nothing but its status has changed there is no hurry.
    pub(super) fn put(&self, item: Item) {
        let mut state = self.state();
        let is_of_status = item.changes_status_alone(&state.objects);
        item.put(&mut state.objects);
        if is_of_status {
            state.statuses.get_or_insert_with(Instant::now);
        } else {
            state.tell();
        }
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
            let due = self.state().due(timing);
            match due {
                None => self.changed().await,
                // The next change may be due before.
                Some(due) if due > Instant::now() => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.changed() => {}
                },
                Some(_) => {
                    let mut state = self.state();
                    (state.news, state.statuses) = (None, None);
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
    use crate::cluster::kind::Kind;
    use std::time::Duration;
    use tokio::time::{advance, timeout};

    fn route(version: u32, spec: &str, status: &str) -> Item {
        let text = format!(
            r#"{{"metadata":{{"name":"r","resourceVersion":"{version}"}},"spec":{spec},"status":{status}}}"#
        );
        Item::read(Kind::Route, &text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_no_news_for_a_while() {
        let (store, timing) = (Store::default(), Timing::default());
        let one = r#"{"hostnames":["a"]}"#;
        store.put(route(1, one, "{}"));
        assert!(wait(&store, &timing).await < Duration::from_millis(60), "it is new");
        for version in 2..50 {
            store.put(route(version, one, &format!(r#"{{"parents":[{version}]}}"#)));
            advance(Duration::from_millis(10)).await;
        }
        assert!((4500..=5000).contains(&wait(&store, &timing).await.as_millis()), "told once, and late");
        store.put(route(50, one, "{}"));
        store.put(route(51, r#"{"hostnames":["b"]}"#, "{}"));
        assert!(wait(&store, &timing).await < Duration::from_millis(60), "something else has changed, too");
        assert!(timeout(Duration::from_secs(3600), store.news(&timing)).await.is_err(), "nothing new");
    }

    #[tokio::test(start_paused = true)]
    async fn news_do_not_wait_for_a_status() {
        let (store, timing) = (Store::default(), Timing::default());
        store.put(route(1, "{}", "{}"));
        wait(&store, &timing).await;
        store.put(route(2, "{}", r#"{"parents":[]}"#));
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            store.put(route(3, r#"{"hostnames":["b"]}"#, "{}"));
            std::future::pending::<()>().await;
        };
        let waited = tokio::select! {
            waited = wait(&store, &timing) => waited,
            () = later => unreachable!(),
        };
        assert!((1050..=1060).contains(&waited.as_millis()), "{waited:?}");
    }

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
