//! What is done to a message.

use super::paths::Scope;
use crate::jsonrpc::walk;
use crate::seal::{self, Keys};
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use memchr::memchr2;
use routing::{TargetId, TargetName};
use std::sync::Arc;

/// What is done to a message. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Whose name goes in front of URIs; without one nothing is renamed.
    pub target: Option<TargetName>,
    /// Where the URIs are.
    pub scope: Scope,
    /// The message's id from now on, as JSON. A batch keeps its ids.
    pub id: Option<Bytes>,
    /// What becomes of a result's members that only one era knows. A batch keeps them.
    pub finish: Finish,
    /// Error codes and what they become. A batch keeps them.
    pub codes: &'static [(i64, i64)],
    /// How the ids of the target's tasks are sealed; without it they stay.
    pub task: Option<Arc<TaskSeal>>,
    /// Look for the result's type even if `finish` does not.
    pub watch: bool,
}

impl Plan {
    /// The target's name goes in front of URIs and nothing else changes.
    #[must_use]
    pub fn names(target: Option<TargetName>, scope: Scope) -> Self {
        Self { target, scope, ..Self::default() }
    }

    /// Whether all of a message passes as it is, which is told in one quick look. `false` says nothing: a
    /// [`Rewriter`](super::Rewriter) knows. A message that passes is one object, nested at most `depth` deep.
    pub(crate) fn spares(&self, message: &[u8], depth: usize) -> bool {
        // What leads to an edit; line breaks would go.
        let known = |key: &[u8]| key != b"uri";
        !self.marks()
            && self.task.is_none()
            && message.first() == Some(&b'{')
            && memchr2(b'\r', b'\n', message).is_none()
            && walk::is_json_of(message, depth, known)
    }

    /// Whether the result's own members matter.
    pub(super) fn watches(&self) -> bool {
        self.watch || !matches!(self.finish, Finish::Keep)
    }

    /// Whether the message's own members matter.
    pub(super) fn marks(&self) -> bool {
        self.watches() || self.id.is_some() || !self.codes.is_empty()
    }
}

/// What becomes of a result's members that only one era knows.
#[derive(Clone, Debug, Default)]
pub enum Finish {
    /// They stay.
    #[default]
    Keep,
    /// For a client of 2026-07-28: those that are missing are added.
    Modern {
        /// `_meta["io.modelcontextprotocol/serverInfo"]`, as JSON.
        server_info: Bytes,
        /// Whether a complete result must say how long it may be kept: for no time.
        cacheable: bool,
    },
    /// For a client of an earlier revision: they are dropped.
    Legacy,
}

/// What a result is (2026-07-28, basic, `resultType`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResultType {
    /// The answer; also when it doesn't say.
    Complete,
    /// A question back.
    InputRequired,
    /// Something of an extension, such as a task.
    Other,
}

impl ResultType {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "complete" => Self::Complete,
            "input_required" => Self::InputRequired,
            _ => Self::Other,
        }
    }
}

/// Seals the ids of one target's tasks for one client, so that they lead back without a table.
#[derive(Clone, Debug)]
pub struct TaskSeal {
    /// The keys that seal.
    pub keys: Keys,
    /// The session or principal that the tasks belong to.
    pub owner: u128,
    /// Whose they are.
    pub target: TargetId,
}

impl TaskSeal {
    /// What the client calls the task `id`. The same id is always called the same.
    #[must_use]
    pub fn seal(&self, id: &str) -> String {
        let mut writer = Writer::default();
        writer.u128(self.owner);
        writer.bytes(self.target.backend.as_str().as_bytes());
        writer.bytes(self.target.name.as_str().as_bytes());
        writer.bytes(id.as_bytes());
        self.keys.seal_equal(seal::Kind::Task, &writer.done())
    }

    /// The target, and its own id of the task that `owner` calls `text`.
    #[must_use]
    pub fn open(keys: &Keys, owner: u128, text: &str) -> Option<(TargetId, String)> {
        let content = keys.open(seal::Kind::Task, text.as_bytes())?;
        let mut reader = Reader::new(&content);
        if reader.u128()? != owner {
            return None;
        }
        let backend = reader.text()?.into();
        Some((TargetId::parse(&backend, reader.text()?).ok()?, reader.text()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rewriter;
    use super::*;
    use proptest::prelude::*;

    const DEPTH: usize = 5;

    fn plan() -> Plan {
        Plan::names(TargetName::parse("a").ok(), Scope::Result)
    }

    /// What a rewriter makes of it, if it is a whole message.
    fn rewritten(message: &[u8]) -> Option<Vec<u8>> {
        let (mut rewriter, mut out) = (Rewriter::new(plan(), DEPTH), Vec::new());
        rewriter.push(message, &mut out).ok()?;
        rewriter.is_complete().then_some(out)
    }

    #[test]
    fn a_message_with_nothing_to_edit_is_spared() {
        for (message, spared) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"uri \n é"}]}}"#, true),
            (r#" {"id":1,"result":{}}"#, false),
            (r#"{"id":1,"result":{"content":[{"type":"resource_link","uri":"x:/y"}]}}"#, false),
            (r#"{"id":1,"result":{"content":[{"\u0075ri":"x:/y"}]}}"#, false),
            (r#"{"result":{"content":[{"type":"text"}]}}"#, true),
            (r#"{"result":{"content":[{"type":{}}]}}"#, true),
            (r#"{"result":{"content":[{"type":[[]]}]}}"#, false),
            ("{\"result\":\n{}}", false),
            (r#"{"result":{}"#, false),
            (r#"[{"result":{}}]"#, false),
        ] {
            assert_eq!(plan().spares(message.as_bytes(), DEPTH), spared, "{message}");
        }
        let message = br#"{"id":1,"result":{}}"#;
        let other_id = Plan { id: Some(Bytes::from_static(b"2")), ..plan() };
        assert!(plan().spares(message, DEPTH) && !other_id.spares(message, DEPTH));
    }

    proptest! {
        #[test]
        fn what_is_spared_a_rewriter_leaves_as_it_is(at in 0usize..80, text in r#"[\[\]{},:"\\ \nuri0-1]{0,6}"#) {
            let message = r#"{"id":1,"result":{"contents":[{"ur":"x:/y","b":[1.5,null,{}]}],"c":"d"}}"#;
            let at = at.min(message.len());
            let message = format!("{}{text}{}", &message[..at], &message[at..]);
            if plan().spares(message.as_bytes(), DEPTH) {
                prop_assert_eq!(rewritten(message.as_bytes()), Some(message.into_bytes()));
            }
        }
    }
}
