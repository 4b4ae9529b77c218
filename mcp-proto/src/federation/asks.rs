//! Answers that are questions: a modern target asks a legacy client.

use crate::events::Held;
use crate::exchange::ExchangeId;
use crate::leg::LegId;
use crate::shard::Shard;

impl Shard {
    /// Whether an answer that crosses eras asks its client something, which is then under way.
    pub(crate) fn asks(&mut self, _id: LegId, _exchange: ExchangeId, _part: u16, _held: &Held) -> bool {
        false
    }
}
