//! Conditions, as Kubernetes writes them, and what is wrong with something, as reason and message.

use serde_json::{Value, json};

/// Bytes of a condition's message that the API server takes.
const MESSAGE_LIMIT: usize = 32_768;
/// How many of many things a message names.
const NAMED: usize = 10;

/// What is wrong with something.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// A word for programs.
    pub(super) reason: &'static str,
    /// A sentence for people.
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The conditions of one object, or of one part of it.
pub(super) struct Conditions {
    generation: Option<i64>,
    list: Vec<Value>,
}

impl Conditions {
    /// None yet; all will say that they are about `generation`.
    pub(super) fn new(generation: Option<i64>) -> Self {
        Self { generation, list: Vec::new() }
    }

    /// One more.
    pub(super) fn with(mut self, kind: &str, holds: bool, reason: &str, message: &str) -> Self {
        let mut condition = json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "reason": reason,
            "message": truncated(message, MESSAGE_LIMIT),
        });
        if let (Some(generation), Some(condition)) = (self.generation, condition.as_object_mut()) {
            condition.insert("observedGeneration".to_owned(), generation.into());
        }
        self.list.push(condition);
        self
    }

    /// One that holds, with its own name as the reason, or does not because of a problem.
    pub(super) fn checked(self, kind: &str, check: Result<&str, &Problem>) -> Self {
        match check {
            Ok(message) => self.with(kind, true, kind, message),
            Err(problem) => self.with(kind, false, problem.reason, &problem.message),
        }
    }

    pub(super) fn into_value(self) -> Value {
        Value::Array(self.list)
    }
}

/// `text`, cut at a character's end if it is longer than `limit` bytes.
pub(super) fn truncated(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// `things` in a sentence: the first few, and how many more there are.
pub(super) fn named(things: &[String]) -> String {
    let first = things.get(..NAMED.min(things.len())).unwrap_or_default().join("; ");
    match things.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_at_a_characters_end() {
        assert_eq!(truncated("aé", 2), "a");
        assert_eq!(truncated("aé", 3), "aé");
        let conditions = Conditions::new(Some(3)).with("A", true, "B", &"é".repeat(20_000)).into_value();
        assert_eq!(conditions[0]["message"].as_str().unwrap().len(), MESSAGE_LIMIT);
        assert_eq!(conditions[0]["observedGeneration"], 3);
    }

    #[test]
    fn many_things_are_counted() {
        let things: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(named(&things[..2]), "0; 1");
        assert_eq!(named(&things), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more");
        assert_eq!(named(&[]), "");
    }
}
