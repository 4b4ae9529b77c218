//! How long to wait before the next attempt.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The waits between attempts: none while all goes well, then more and more, at random, so that what failed together does not
/// come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    entropy: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        // The keys of a hasher are the standard library's only randomness.
        Self { first, most, failures: 0, entropy: RandomState::new().hash_one(0_u8) | 1 }
    }

    /// It went well: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait. Between half and all of a time that doubles from failure to failure.
    pub(super) fn wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(self.most);
        longest / 2 + longest.mul_f64(self.random() / 2.0)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "only the upper 32 bits are used")]
    pub(super) fn random(&mut self) -> f64 {
        // xorshift64: good enough to spread requests.
        self.entropy ^= self.entropy << 13;
        self.entropy ^= self.entropy >> 7;
        self.entropy ^= self.entropy << 17;
        (self.entropy >> 32) as f64 / 2_f64.powi(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        for expected in [200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let wait = backoff.wait().as_millis();
            assert!((expected / 2..=expected).contains(&wait), "{wait} for {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.wait() <= Duration::from_secs(5));
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(200));
    }

    #[test]
    fn no_two_are_alike() {
        let mut one = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let mut two = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_ne!(one.wait(), two.wait());
    }
}
