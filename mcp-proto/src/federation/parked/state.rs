//! `requestState` of the gateway's own: what it is for, and what it is bound to.

use super::ParkedId;
use crate::ShardId;
use crate::seal::{Keys, Kind};
use crate::table::Key as _;
use crate::wire::{Reader, Writer};
use routing::BackendName;
use serde_json::Value;
use std::time::Duration;

/// Whose state is whose: without authentication all clients are one.
const PRINCIPAL: u128 = 0;

/// What a state of ours is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purport {
    /// To go on with a parked call.
    Parked { shard: ShardId, call: ParkedId, nonce: u64 },
    /// To make the call anew: nothing is kept of it.
    Anew,
}

/// `requestState`, opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct State {
    pub(super) purport: Purport,
    /// Who serves it.
    pub(super) backend: BackendName,
    principal: u128,
    digest: [u8; 16],
    /// Since the Unix epoch, in seconds.
    expires: u64,
}

impl State {
    /// For the request that `message` is, at `backend`.
    pub(super) fn new(
        purport: Purport,
        backend: BackendName,
        message: &[u8],
        keys: &Keys,
        expires: Duration,
    ) -> Self {
        let digest = keys.marks(&salient(message)).next().unwrap_or_default();
        Self { purport, backend, principal: PRINCIPAL, digest, expires: expires.as_secs() }
    }

    pub(super) fn seal(&self, keys: &Keys, nonce: [u8; 12]) -> String {
        keys.seal_here(Kind::State, nonce, &self.write())
    }

    /// The state behind a JSON string; `None` when it is not ours.
    pub(super) fn open(keys: &Keys, raw: &[u8]) -> Option<Self> {
        let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Self::read(&keys.open_here(Kind::State, text)?)
    }

    /// Whether it was given for the request that `message` is.
    pub(super) fn is_for(&self, message: &[u8], keys: &Keys) -> bool {
        self.principal == PRINCIPAL && keys.marks(&salient(message)).any(|mark| mark == self.digest)
    }

    pub(super) fn has_expired(&self, unix: Duration) -> bool {
        self.expires < unix.as_secs()
    }

    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u128(self.principal);
        writer.u128(u128::from_be_bytes(self.digest));
        writer.u64(self.expires);
        writer.bytes(self.backend.as_str().as_bytes());
        if let Purport::Parked { shard, call, nonce } = self.purport {
            let (index, generation) = call.parts();
            writer.u16(shard.0);
            writer.u64(u64::from(index) << 32 | u64::from(generation));
            writer.u64(nonce);
        }
        writer.done()
    }

    fn read(content: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        let (principal, digest) = (reader.u128()?, reader.u128()?.to_be_bytes());
        let (expires, backend) = (reader.u64()?, reader.text()?.into());
        let purport = match reader.is_empty() {
            true => Purport::Anew,
            false => {
                let (shard, call) = (ShardId(reader.u16()?), reader.u64()?);
                let call = ParkedId::new((call >> 32) as u32, call as u32);
                Purport::Parked { shard, call, nonce: reader.u64()? }
            }
        };
        Some(Self { purport, backend, principal, digest, expires })
    }
}

/// What makes a request the same when it comes again: method and parameters, without what may differ from time to time.
fn salient(message: &[u8]) -> Vec<u8> {
    let whole = || message.to_vec();
    let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(message) else { return whole() };
    let mut params = message.remove("params").unwrap_or_default();
    if let Some(params) = params.as_object_mut() {
        for key in ["_meta", "inputResponses", "requestState"] {
            params.remove(key);
        }
    }
    serde_json::json!([message.get("method"), params]).to_string().into_bytes()
}
