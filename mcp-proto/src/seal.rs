//! Sealing: state that travels with its client instead of staying in a table.
//!
//! Session ids, cursors, event ids and the ids of relayed server requests are AES-256-GCM-SIV (RFC 8452) boxes in
//! base64url without padding. SIV keeps equal nonces harmless, so what must be found again by its text (a relayed
//! request's id, which a later cancellation repeats) is sealed with the zero nonce and equal input gives equal text.
//! The kind of the content is authenticated along: a cursor never opens as a session.

use crate::base64;
use crate::wire::{Reader, Writer};
use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit, Nonce, Tag};
use std::fmt;
use std::sync::Arc;

const NONCE: usize = 12;
const TAG: usize = 16;

/// What is sealed. The byte is part of the authenticated data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A client's session.
    Session = b's',
    /// The place in a merged list.
    Cursor = b'c',
    /// The place in an event stream.
    Event = b'e',
    /// A target and the id of its request.
    Reply = b'r',
    /// A target and its progress token.
    Progress = b'p',
    /// A client's one stream.
    Stream = b'o',
    /// A target and its task.
    Task = b't',
    /// A round of questions to a client, and one of them.
    Input = b'i',
    /// What a call of a modern client waits for.
    State = b'w',
}

/// The secret keys of a gateway: the first seals, all open. A key is known by its first sealed byte, its number.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<[Key]>,
    via: Arc<str>,
    address: Arc<str>,
}

struct Key {
    number: u8,
    cipher: Aes256GcmSiv,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

impl Keys {
    /// `newest` seals; `newest` and `older` open. A key's number is derived from its bytes, so that every replica with
    /// the same secrets agrees on it.
    #[must_use]
    pub fn new(newest: [u8; 32], older: &[[u8; 32]]) -> Self {
        let keys: Arc<[Key]> = std::iter::once(&newest)
            .chain(older)
            .map(|secret| {
                let cipher = Aes256GcmSiv::new(secret.into());
                let number = mark(&cipher, b"number").first().copied().unwrap_or_default();
                Key { number, cipher }
            })
            .collect();
        let name = keys.first().map(|key| mark(&key.cipher, b"via")).unwrap_or_default();
        let name: String = name.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { keys, via: format!("1.1 mcp-gateway-{name}").into(), address: "".into() }
    }

    /// The same keys at a replica that others reach under `address`: what lives in one place only carries it in its id.
    #[must_use]
    pub fn at(self, address: &str) -> Self {
        Self { address: address.into(), ..self }
    }

    /// Seals the id of something that lives at this replica alone.
    pub(crate) fn seal_here(&self, kind: Kind, nonce: [u8; NONCE], content: &[u8]) -> String {
        let mut writer = Writer::default();
        writer.bytes(self.address.as_bytes());
        writer.bytes(content);
        self.seal(kind, nonce, &writer.done())
    }

    /// What was sealed by [`Self::seal_here`]; `None` for what lives at another replica.
    pub(crate) fn open_here(&self, kind: Kind, text: &[u8]) -> Option<Vec<u8>> {
        let content = self.open(kind, text)?;
        let mut reader = Reader::new(&content);
        let here = reader.bytes()? == self.address.as_bytes();
        here.then(|| reader.bytes().map(<[u8]>::to_vec)).flatten()
    }

    /// What this gateway, in all its replicas, adds to `Via` (RFC 9110, 7.6.3).
    pub(crate) fn via(&self) -> &str {
        &self.via
    }

    /// What each key makes of `text`, the one that seals first: only who has a key can tell.
    pub(crate) fn marks(&self, text: &[u8]) -> impl Iterator<Item = [u8; TAG]> {
        self.keys.iter().map(move |key| mark(&key.cipher, text))
    }

    /// Seals `content` under `nonce`, which should be random.
    #[must_use]
    pub fn seal(&self, kind: Kind, nonce: [u8; NONCE], content: &[u8]) -> String {
        let Some(key) = self.keys.first() else { return String::new() };
        let mut sealed = Vec::with_capacity(1 + NONCE + content.len() + TAG);
        sealed.push(key.number);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let (_, body) = sealed.split_at_mut(1 + NONCE);
        let Ok(tag) = key.cipher.encrypt_inout_detached(&nonce.into(), &[kind as u8], body.into()) else {
            return String::new();
        };
        sealed.extend_from_slice(&tag);
        base64::URL.encode(&sealed)
    }

    /// Seals `content` so that equal content gives equal text.
    #[must_use]
    pub fn seal_equal(&self, kind: Kind, content: &[u8]) -> String {
        self.seal(kind, [0; NONCE], content)
    }

    /// What was sealed as `kind`, or `None` for anything that this gateway did not seal so.
    #[must_use]
    pub fn open(&self, kind: Kind, text: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = base64::URL.decode(text)?;
        let body = sealed.len().checked_sub(TAG)?;
        let (&number, _) = sealed.split_first()?;
        let tag: Tag<Aes256GcmSiv> = sealed.get(body..)?.try_into().ok()?;
        let nonce: [u8; NONCE] = sealed.get(1..1 + NONCE)?.try_into().ok()?;
        sealed.truncate(body);
        let content = sealed.get(1 + NONCE..)?;
        for key in self.keys.iter().filter(|key| key.number == number) {
            let mut content = content.to_vec();
            let opened = key.cipher.decrypt_inout_detached(
                &nonce.into(),
                &[kind as u8],
                content.as_mut_slice().into(),
                &tag,
            );
            if opened.is_ok() {
                return Some(content);
            }
        }
        None
    }
}

/// Sixteen bytes that a key makes of `text` and that tell nothing of the key.
fn mark(cipher: &Aes256GcmSiv, text: &[u8]) -> [u8; TAG] {
    let mut nothing = [0u8; 0];
    let nonce = Nonce::<Aes256GcmSiv>::default();
    let tag = cipher.encrypt_inout_detached(&nonce, text, (&mut nothing[..]).into());
    tag.map(Into::into).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(first: u8) -> Keys {
        Keys::new([first; 32], &[[7; 32]])
    }

    #[test]
    fn opens_only_what_was_sealed_as_that() {
        let keys = keys(1);
        let text = keys.seal(Kind::Cursor, [9; NONCE], b"content");
        assert_eq!(keys.open(Kind::Cursor, text.as_bytes()).as_deref(), Some(&b"content"[..]));
        assert_eq!(keys.open(Kind::Session, text.as_bytes()), None);
        for at in 0..text.len() {
            let mut broken = text.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open(Kind::Cursor, &broken), None, "changed at {at}");
        }
        assert_eq!(keys.open(Kind::Cursor, b""), None);
        assert_eq!(keys.open(Kind::Cursor, b"AAAA"), None);
    }

    #[test]
    fn an_older_key_opens_and_a_foreign_one_does_not() {
        let old = Keys::new([7; 32], &[]);
        let text = old.seal_equal(Kind::Reply, b"x");
        assert_eq!(keys(1).open(Kind::Reply, text.as_bytes()).as_deref(), Some(&b"x"[..]));
        assert_eq!(Keys::new([8; 32], &[]).open(Kind::Reply, text.as_bytes()), None);
        assert_eq!(old.seal_equal(Kind::Reply, b"x"), text);
    }

    #[test]
    fn what_lives_at_one_replica_opens_nowhere_else() {
        let (here, there) = (keys(1).at("10.0.0.1:8080"), keys(1).at("10.0.0.2:8080"));
        let text = here.seal_here(Kind::State, [0; NONCE], b"x");
        assert_eq!(here.open_here(Kind::State, text.as_bytes()).as_deref(), Some(&b"x"[..]));
        assert_eq!(there.open_here(Kind::State, text.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(content: Vec<u8>, nonce: [u8; NONCE]) {
            let text = keys(3).seal(Kind::Session, nonce, &content);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(keys(3).open(Kind::Session, text.as_bytes()), Some(content));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text: Vec<u8>) {
            prop_assert_eq!(keys(3).open(Kind::Session, &text), None);
        }
    }
}
