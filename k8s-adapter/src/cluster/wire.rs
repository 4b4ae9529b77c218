//! What the API server says: the lines of a watch, and the pages of a list.
//!
//! Objects stay JSON text here, so that one which can't be read does not take its neighbours with it.

use super::api::{Failure, Refusal, causes, quietly};
use crate::objects::Key;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest line of a watch. etcd takes 1.5 MiB of an object, which is more in JSON with everything escaped.
const LONGEST_LINE: usize = 16 << 20;

/// An answer that comes line by line.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes at the beginning of the buffer that have no line end in them.
    searched: usize,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line, or none when the server has ended the answer. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(line) = self.line() {
                return Ok(Some(line));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(Failure::Broken(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            match quietly(self.body.frame()).await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(|error| Failure::Cut(causes(&error)))?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Failure::Cut("in the middle of a line".to_owned())),
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        let unsearched = self.buffer.get(self.searched..)?;
        let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + end + 1).freeze();
        self.searched = 0;
        Some(line)
    }
}

/// What a line of a watch says.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The object is new, or has changed: in a stream that was cut and taken up again that is not told apart.
    Put(&'a str),
    /// The object, as it was last, is gone.
    Gone(&'a str),
    /// Everything up to this version has been said.
    Bookmark {
        /// `resourceVersion`.
        version: String,
        /// Whether it is the end of what was there at the beginning.
        listed: bool,
    },
    /// The watch failed.
    Failed(Refusal),
}

impl<'a> Event<'a> {
    /// Reads a line.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let line: Line<'_> =
            serde_json::from_slice(line).map_err(|error| Failure::Broken(error.to_string()))?;
        let object = line.object.get();
        match &*line.kind {
            "ADDED" | "MODIFIED" => Ok(Self::Put(object)),
            "DELETED" => Ok(Self::Gone(object)),
            "ERROR" => Ok(Self::Failed(Refusal::read(object.as_bytes()))),
            "BOOKMARK" => {
                let Identity { version, annotations, .. } = Identity::read(object).unwrap_or_default();
                let listed =
                    annotations.get("k8s.io/initial-events-end").is_some_and(|value| value == "true");
                Ok(Self::Bookmark { version, listed })
            }
            other => Err(Failure::Broken(format!("an event of the type {other:?}"))),
        }
    }
}

/// A page of a list.
pub(super) struct Page<'a> {
    /// The version of the whole list.
    pub(super) version: String,
    /// What to ask for the next page with. Empty: this is the last.
    pub(super) token: String,
    /// The objects.
    pub(super) items: Vec<&'a str>,
}

impl<'a> Page<'a> {
    /// Reads an answer.
    pub(super) fn read(answer: &'a [u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(default)]
            metadata: ListMetadata,
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct ListMetadata {
            resource_version: Option<String>,
            #[serde(rename = "continue")]
            token: Option<String>,
        }
        let list: List<'_> =
            serde_json::from_slice(answer).map_err(|error| Failure::Broken(error.to_string()))?;
        Ok(Self {
            version: list.metadata.resource_version.unwrap_or_default(),
            token: list.metadata.token.unwrap_or_default(),
            items: list.items.unwrap_or_default().into_iter().map(RawValue::get).collect(),
        })
    }
}

/// Of an object, only which one it is: enough for one that is gone, and for one that can't be read.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) key: Key,
    /// `resourceVersion`.
    pub(super) version: String,
    annotations: BTreeMap<String, String>,
}

impl Identity {
    /// None if it does not even say that.
    pub(super) fn read(object: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Metadata {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
            annotations: Option<serde_json::Value>,
        }
        let Object { metadata } = serde_json::from_str(object).ok()?;
        let annotations =
            metadata.annotations.and_then(|annotations| serde_json::from_value(annotations).ok());
        Some(Self {
            key: Key {
                name: metadata.name.unwrap_or_default(),
                namespace: metadata.namespace.unwrap_or_default(),
            },
            version: metadata.resource_version.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(body: &'static [u8]) -> (Vec<String>, Option<String>) {
        let mut lines = Lines::new(Body::from(body.to_vec()));
        let mut all = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => all.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return (all, None),
                Err(failure) => return (all, Some(failure.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn lines_end_with_a_line_end_and_a_piece_of_one_is_no_line() {
        assert_eq!(lines(b"a\nbc\n").await, (vec!["a\n".to_owned(), "bc\n".to_owned()], None));
        let (whole, failure) = lines(b"a\n{\"type\":").await;
        assert_eq!(whole, ["a\n"]);
        assert_eq!(failure.unwrap(), "the connection to the API server broke: in the middle of a line");
    }

    #[test]
    fn events() {
        let read = |text: &'static str| Event::read(text.as_bytes());
        assert!(matches!(read(r#"{"type":"ADDED","object":{"a":1}}"#), Ok(Event::Put(r#"{"a":1}"#))));
        assert!(matches!(read(r#"{"object":{},"type":"DELETED"}"#), Ok(Event::Gone("{}"))));
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let Ok(Event::Bookmark { version, listed }) = read(bookmark) else { panic!() };
        assert_eq!((version.as_str(), listed), ("7", true));
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert!(matches!(read(error), Ok(Event::Failed(Refusal { code: 410, .. }))));
        assert!(matches!(read("{}"), Err(Failure::Broken(_))));
        assert!(matches!(read(r#"{"type":"NEWS","object":{}}"#), Err(Failure::Broken(_))));
    }

    #[test]
    fn pages() {
        let page =
            Page::read(br#"{"metadata":{"resourceVersion":"9","continue":"x"},"items":[{"a":1},{"b":2}]}"#)
                .unwrap();
        assert_eq!((page.version.as_str(), page.token.as_str()), ("9", "x"));
        assert_eq!(page.items, [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert!(Page::read(br#"{"metadata":{},"items":null}"#).unwrap().items.is_empty());
        assert!(Page::read(b"<html>").is_err());
    }
}
