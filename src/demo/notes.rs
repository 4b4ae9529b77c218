//! A server that keeps notes in memory: tools to write them, resources to read them, a prompt over all of them.

use super::{Answer, Offer};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// Notes it keeps; the oldest make room.
const MOST: usize = 100;
/// Bytes of one note.
const LONGEST: usize = 4 << 10;

/// The notes and their numbers.
#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<(u64, String)>>);

impl Offer for Notes {
    fn capabilities(&self) -> Value {
        json!({"tools": {}, "resources": {}, "prompts": {}})
    }

    fn answer(&self, method: &str, params: &Value) -> Answer {
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        match (method, name) {
            ("tools/list", _) => Answer::Result(json!({"tools": [
                {
                    "name": "add",
                    "description": "Writes a note",
                    "inputSchema": {
                        "type": "object",
                        "properties": {"text": {"type": "string"}},
                        "required": ["text"],
                    },
                },
                {
                    "name": "list",
                    "description": "All notes, oldest first",
                    "inputSchema": {"type": "object"},
                    "annotations": {"readOnlyHint": true},
                },
            ]})),
            ("tools/call", "add") => self.add(params.pointer("/arguments/text").and_then(Value::as_str)),
            ("tools/call", "list") => Answer::tool(self.text()),
            ("tools/call", other) => Answer::invalid(format!("Unknown tool: {other}")),
            ("resources/list", _) => self.resources(),
            ("resources/templates/list", _) => Answer::Result(json!({"resourceTemplates": [
                {"uriTemplate": "note://{number}", "name": "note", "mimeType": "text/plain"},
            ]})),
            ("resources/read", _) => self.read(params.get("uri").and_then(Value::as_str).unwrap_or_default()),
            ("prompts/list", _) => Answer::Result(json!({"prompts": [
                {"name": "summarize", "description": "Asks for a summary of all notes"},
            ]})),
            ("prompts/get", "summarize") => {
                let text = format!("Summarize these notes:\n{}", self.text());
                Answer::Result(
                    json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}),
                )
            }
            ("prompts/get", other) => Answer::invalid(format!("Unknown prompt: {other}")),
            _ => Answer::unknown_method(method),
        }
    }
}

impl Notes {
    fn add(&self, text: Option<&str>) -> Answer {
        let Some(text) = text.filter(|text| text.len() <= LONGEST) else {
            return Answer::tool_error(&format!("text must be a string of at most {LONGEST} bytes"));
        };
        let mut notes = self.notes();
        let number = notes.last().map_or(1, |(number, _)| number + 1);
        notes.push((number, text.to_owned()));
        if notes.len() > MOST {
            notes.remove(0);
        }
        Answer::tool(format!("note://{number}"))
    }

    fn text(&self) -> String {
        let notes = self.notes();
        let lines: Vec<String> = notes.iter().map(|(number, text)| format!("{number}. {text}")).collect();
        if lines.is_empty() { "There are no notes.".to_owned() } else { lines.join("\n") }
    }

    fn resources(&self) -> Answer {
        let notes = self.notes();
        let resource = |(number, _): &(u64, String)| json!({"uri": format!("note://{number}"), "name": format!("note {number}"), "mimeType": "text/plain"});
        Answer::Result(json!({"resources": notes.iter().map(resource).collect::<Vec<_>>()}))
    }

    fn read(&self, uri: &str) -> Answer {
        let notes = self.notes();
        match notes.iter().find(|(number, _)| uri == format!("note://{number}")) {
            Some((_, text)) => {
                Answer::Result(json!({"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]}))
            }
            None => Answer::Error(-32002, format!("Resource not found: {uri}")),
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Vec<(u64, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
