//! Reads typed values out of a tree and collects everything that is wrong with it, so that one look at the output
//! mends the whole file.

use super::tree::{Node, Value};
use super::units;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// File or flag.
    pub(crate) source: String,
    /// Line in the file, from 1.
    pub(crate) line: Option<u64>,
    /// The key, from the top: `limits.head`. Empty for the whole.
    pub(crate) key: String,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

impl Problem {
    /// What is wrong with a flag.
    pub(crate) fn of_flag(flag: &str, message: String) -> Self {
        Self { source: flag.to_owned(), line: None, key: String::new(), message }
    }

    /// A file or folder that can't be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::of_flag(&path.display().to_string(), format!("can't be read: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A key of the tree with its value and its place.
#[derive(Clone, Debug)]
pub(super) struct Entry<'n> {
    pub(super) path: String,
    pub(super) key: &'n str,
    pub(super) line: u64,
    pub(super) node: &'n Node,
}

/// What a reading found out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) source: String,
    pub(super) problems: Vec<Problem>,
    /// What was understood but has no effect.
    pub(super) notes: Vec<String>,
    /// Where variables come from.
    pub(super) environment: fn(&str) -> Option<String>,
}

impl Report {
    pub(super) fn new(source: String, environment: fn(&str) -> Option<String>) -> Self {
        Self { source, problems: Vec::new(), notes: Vec::new(), environment }
    }

    /// The entries of the whole file.
    pub(super) fn top<'n>(&mut self, node: &'n Node) -> Vec<Entry<'n>> {
        self.entries(&Entry { path: String::new(), key: "", line: node.line, node })
    }

    /// The entries of a map; a key with nothing behind it is an empty map.
    pub(super) fn entries<'n>(&mut self, of: &Entry<'n>) -> Vec<Entry<'n>> {
        match &of.node.value {
            Value::Nothing => Vec::new(),
            Value::Map(map) => map
                .iter()
                .map(|(key, node)| {
                    let dot = if of.path.is_empty() { "" } else { "." };
                    Entry {
                        path: format!("{}{dot}{}", of.path, key.text),
                        key: &key.text,
                        line: key.line,
                        node,
                    }
                })
                .collect(),
            _ => {
                self.expected(of, "a map of keys and values");
                Vec::new()
            }
        }
    }

    pub(super) fn problem(&mut self, entry: &Entry<'_>, message: impl Into<String>) {
        self.problems.push(Problem {
            source: self.source.clone(),
            line: Some(entry.line),
            key: entry.path.clone(),
            message: message.into(),
        });
    }

    pub(super) fn note(&mut self, entry: &Entry<'_>, message: &str) {
        self.notes.push(format!("{}:{}: {}: {message}", self.source, entry.line, entry.path));
    }

    /// Says that the value should have been `what`.
    pub(super) fn expected(&mut self, entry: &Entry<'_>, what: &str) {
        self.problem(entry, format!("expected {what}, found {}", entry.node.value));
    }

    /// Says that nobody knows the key, and which one was perhaps meant.
    pub(super) fn unknown(&mut self, entry: &Entry<'_>, known: &[&str]) {
        self.problem(entry, format!("unknown key{}", suggestion(entry.key, known)));
    }

    pub(super) fn text<'n>(&mut self, entry: &Entry<'n>) -> Option<&'n str> {
        if let Value::Text(text) = &entry.node.value {
            return Some(text);
        }
        self.expected(entry, "a text in quotes");
        None
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn texts<'n>(&mut self, entry: &Entry<'n>) -> Vec<&'n str> {
        let single = std::slice::from_ref(entry.node);
        let items = if let Value::List(items) = &entry.node.value { items } else { single };
        let texts: Vec<&str> = items
            .iter()
            .filter_map(|item| if let Value::Text(text) = &item.value { Some(text.as_str()) } else { None })
            .collect();
        if texts.len() < items.len() {
            self.expected(entry, "a list of texts in quotes");
        }
        texts
    }

    pub(super) fn bool(&mut self, entry: &Entry<'_>) -> Option<bool> {
        if let Value::Bool(value) = entry.node.value {
            return Some(value);
        }
        self.expected(entry, "true or false");
        None
    }

    /// A whole number from 1 to `most`.
    pub(super) fn count(&mut self, entry: &Entry<'_>, most: usize) -> Option<usize> {
        if let Value::Integer(value) = entry.node.value
            && let Ok(value) = usize::try_from(value)
            && (1..=most).contains(&value)
        {
            return Some(value);
        }
        let range = if most == usize::MAX { "from 1 on".to_owned() } else { format!("from 1 to {most}") };
        self.expected(entry, &format!("a whole number {range}"));
        None
    }

    pub(super) fn size(&mut self, entry: &Entry<'_>) -> Option<usize> {
        let size = match &entry.node.value {
            Value::Integer(value) => usize::try_from(*value).ok(),
            Value::Text(text) => units::size(text),
            _ => None,
        };
        if size.is_none_or(|size| size == 0) {
            self.expected(entry, units::SIZE);
            return None;
        }
        size
    }

    pub(super) fn duration(&mut self, entry: &Entry<'_>, least: Duration) -> Option<Duration> {
        let duration = match &entry.node.value {
            Value::Text(text) => units::duration(text).filter(|duration| *duration >= least),
            _ => None,
        };
        if duration.is_none() {
            self.expected(entry, units::DURATION);
        }
        duration
    }

    /// One word of a fixed set.
    pub(super) fn choice<T: Copy>(&mut self, entry: &Entry<'_>, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        if let Value::Text(text) = &entry.node.value {
            if let Some((_, value)) = choices.iter().find(|(word, _)| word == text) {
                return Some(*value);
            }
            let hint = suggestion(text, &words);
            self.problem(entry, format!("expected {}, found {text:?}{hint}", or(&words)));
        } else {
            self.expected(entry, &or(&words));
        }
        None
    }
}

/// `; did you mean "url"?`, when one of `known` is a typing error away from `text`; else all of them.
fn suggestion(text: &str, known: &[&str]) -> String {
    let text = text.to_lowercase();
    let nearest =
        known.iter().map(|word| (distance(&text, &word.to_lowercase()), word)).min_by_key(|near| near.0);
    match nearest {
        Some((distance, word)) if distance <= (text.len() / 3).max(1) => {
            format!("; did you mean \"{word}\"?")
        }
        _ => format!("; known here: {}", known.join(", ")),
    }
}

/// In typing errors. One that is a part of the other, as "url" is of "httpUrl", counts as one.
fn distance(a: &str, b: &str) -> usize {
    let typed = strsim::damerau_levenshtein(a, b);
    if a.len().min(b.len()) >= 3 && (a.contains(b) || b.contains(a)) { typed.min(1) } else { typed }
}

fn or(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
