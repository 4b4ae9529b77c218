//! Mail between shards.

use super::World;
use std::collections::VecDeque;

impl World {
    /// The oldest letter reaches its shard.
    pub(super) fn deliver(&mut self) -> bool {
        let Some((shard, parcel)) = self.mail.pop_front() else { return false };
        self.shards[shard].deliver(parcel, self.now);
        true
    }

    /// Bytes are coming for a shard: mail goes before them, and can't be later than that.
    pub(super) fn deliver_to(&mut self, shard: usize) -> bool {
        let (for_it, others): (VecDeque<_>, _) =
            std::mem::take(&mut self.mail).into_iter().partition(|(to, _)| *to == shard);
        self.mail = others;
        let any = !for_it.is_empty();
        for (_, parcel) in for_it {
            self.shards[shard].deliver(parcel, self.now);
            self.obey();
        }
        any
    }
}
