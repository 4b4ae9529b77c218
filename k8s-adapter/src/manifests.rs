//! Manifests in files: YAML or JSON, one document or several, lists included.

use crate::objects::{Inserted, Objects};
use serde_json::Value;
use serde_saphyr::Spanned;

/// Reads the documents of a file into `objects`. `file` is its name, for what is said about it.
///
/// What comes back are notes: documents that were skipped, or that replace one of the same name.
///
/// # Errors
/// All that is wrong with the file; what could be read of it is in `objects`.
pub fn read(file: &str, text: &str, objects: &mut Objects) -> Result<Vec<String>, Vec<String>> {
    // YAML 1.2 booleans only: `off` is a word.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(1, |place| place.line());
            vec![format!("{file}:{line}: {}", error.without_snippet())]
        })?;
    let mut told = Told { file, notes: Vec::new(), problems: Vec::new() };
    for document in documents {
        told.take(document.referenced.line(), document.value, objects);
    }
    if told.problems.is_empty() { Ok(told.notes) } else { Err(told.problems) }
}

/// What there is to say about a file.
struct Told<'a> {
    file: &'a str,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Told<'_> {
    /// Takes a document that starts at `line`.
    fn take(&mut self, line: u64, value: Value, objects: &mut Objects) {
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").and_then(Value::as_str).is_some_and(is_list) => {
                let Some(Value::Array(items)) = list.remove("items") else { return };
                for item in items {
                    self.take(line, item, objects);
                }
            }
            value => self.insert(line, value, objects),
        }
    }

    fn insert(&mut self, line: u64, value: Value, objects: &mut Objects) {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("document");
        let name = value.pointer("/metadata/name").and_then(Value::as_str).map(|name| format!(" {name}"));
        let what = format!("{kind}{}", name.unwrap_or_default());
        let place = format!("{}:{line}", self.file);
        match objects.insert(value) {
            Ok(Inserted::New) => {}
            Ok(Inserted::Replaced) => {
                self.notes.push(format!("{place}: {what} replaces one of the same name"));
            }
            Ok(Inserted::Skipped { version, .. }) => {
                self.notes.push(format!("{place}: {what} ({version}) is skipped: it has no meaning here"));
            }
            Err(problem) => self.problems.push(format!("{place}: {what}: {problem}")),
        }
    }
}

/// `List`, `ServiceList`, …: what `kubectl get -o yaml` writes.
fn is_list(kind: &str) -> bool {
    kind.ends_with("List")
}
