//! One page of a list as a target answered it, turned into what clients see.
//!
//! Only names and URIs are replaced, in place; everything else of an item (schemas, numbers, escapes, key order,
//! members nobody has heard of) leaves as it came.

use super::envelope::decode;
use super::mirror::{self, Mirror};
use super::walk::{self, Shape};
use super::{depth, params, splice, structured};
use routing::{TargetName, names, uris};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// JSON-RPC 2.0, 5.1.
const INTERNAL_ERROR: i64 = -32603;

/// What is listed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The list that `method` asks for.
    #[must_use]
    pub fn from_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The method that asks for it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item that it is asked for by.
    fn item_key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    fn has_names(self) -> bool {
        matches!(self, Self::Tools | Self::Prompts)
    }
}

/// How a target's items are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'t> {
    /// Whose name goes in front; without one names and URIs stay.
    pub target: Option<&'t TargetName>,
    /// Whether tools are left out whose schema has an invalid `x-mcp-header` (2026-07-28, server/tools).
    pub drop_invalid: bool,
    /// Whether tools lose `execution`, which speaks of tasks as they were in 2025-11-25.
    pub strip_execution: bool,
    /// Whether structured results are objects, so that a tool's `outputSchema` must say so.
    pub wrap_output: bool,
}

impl<'t> View<'t> {
    /// The target's name goes in front and nothing else changes.
    #[must_use]
    pub fn names(target: &'t TargetName) -> Self {
        Self { target: Some(target), ..Self::default() }
    }
}

/// One page, besides its items.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// How many items were taken.
    pub items: usize,
    /// How many were left out: because nobody could ask for them, as their name or URI is missing, doubled or no text, or
    /// because the view has no room for them.
    pub dropped: usize,
    /// The target's cursor to the next page.
    pub next_cursor: Option<String>,
    /// Names whose federated form doesn't tell the original: federated, original.
    pub irregular: Vec<(String, String)>,
    /// Original names of tools or prompts, in order; empty for resources.
    pub names: Vec<String>,
    /// Tools that want arguments repeated in the head: original name, which arguments.
    pub mirrors: Vec<(String, Vec<Mirror>)>,
    /// Tools that want it in a way that is invalid: original name, why. Whether they are left out is the view's.
    pub invalid: Vec<(String, &'static str)>,
    /// Other members of the result, such as `_meta`: key, raw value.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// There is no page. The target's fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PageError {
    /// The answer is no JSON, too deep, or has no list.
    Malformed,
    /// The answer is an error.
    Error {
        /// Its code; -32603 when it has none.
        code: i64,
        /// Its message; empty when it has none.
        message: String,
    },
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the answer is no list"),
            Self::Error { code, message } => write!(f, "error {code}: {message}"),
        }
    }
}

impl std::error::Error for PageError {}

/// Appends the items of the answer `body`, as `view` has them, to `out`: separated by commas, without brackets.
///
/// # Errors
/// When the answer is an error or no list; then `out` is as it was.
pub fn federate(
    body: &[u8],
    kind: Kind,
    view: &View<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<Page, PageError> {
    let text = str::from_utf8(body).map_err(|_| PageError::Malformed)?;
    if depth::exceeds(body, depth) {
        return Err(PageError::Malformed);
    }
    let before = out.len();
    let mut answer = Answer::new(kind, *view, text, out);
    let page = match walk::walk(text, Field::Answer, &mut answer) {
        Ok(()) => answer.finish(),
        Err(walk::Malformed) => Err(PageError::Malformed),
    };
    if page.is_err() {
        out.truncate(before);
    }
    page
}

/// The places of interest in an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Answer,
    Unread,
    Error,
    Code,
    Message,
    Result,
    NextCursor,
    Extra,
    Items,
    Item,
    /// What the item is called by: `name`, `uri` or `uriTemplate`.
    Key,
    Title,
    InputSchema,
    OutputSchema,
    Execution,
    Meta,
    MetaUi,
    /// A URI elsewhere in the item.
    Link,
}

/// An answer being walked.
struct Answer<'o> {
    kind: Kind,
    view: View<'o>,
    out: &'o mut Vec<u8>,
    page: Page,
    /// The key of a member of the result that is carried along.
    extra: String,
    error: Option<(Option<i64>, Option<String>)>,
    /// How often the list was seen, and the cursor: more than once is malformed.
    lists: usize,
    cursors: usize,
    item: Item,
    /// Tools may want arguments repeated.
    annotated: bool,
}

/// The item being walked.
#[derive(Default)]
struct Item {
    edits: Vec<params::Edit>,
    /// Its original name or URI, and the index of the edit that replaces it, if that is replaced.
    key: Option<(String, usize)>,
    /// How often the key was seen.
    keys: usize,
    titled: bool,
    input_schema: Option<Range<usize>>,
    /// Members that are not shown.
    stripped: Vec<Range<usize>>,
}

impl Shape for Answer<'_> {
    type Field = Field;

    fn member(&mut self, parent: Field, key: &[u8]) -> Field {
        let tool = self.kind == Kind::Tools;
        match (parent, key) {
            (Field::Answer, b"result") => Field::Result,
            (Field::Answer, b"error") => Field::Error,
            (Field::Error, b"code") => Field::Code,
            (Field::Error, b"message") => Field::Message,
            (Field::Result, b"nextCursor") => Field::NextCursor,
            (Field::Result, key) if key == self.kind.key().as_bytes() => Field::Items,
            (Field::Result, key) => {
                self.extra = String::from_utf8_lossy(key).into_owned();
                Field::Extra
            }
            (Field::Item, key) if key == self.kind.item_key().as_bytes() => Field::Key,
            (Field::Item, b"title") => Field::Title,
            (Field::Item, b"_meta") if tool => Field::Meta,
            (Field::Item, b"inputSchema") if tool => Field::InputSchema,
            (Field::Item, b"outputSchema") if tool && self.view.wrap_output => Field::OutputSchema,
            (Field::Item, b"execution") if tool && self.view.strip_execution => Field::Execution,
            (Field::Meta, b"ui") => Field::MetaUi,
            (Field::Meta, b"ui/resourceUri" | b"openai/outputTemplate") => Field::Link,
            (Field::MetaUi, b"resourceUri") => Field::Link,
            _ => Field::Unread,
        }
    }

    fn element(&mut self, parent: Field) -> Field {
        match parent {
            Field::Items => Field::Item,
            _ => Field::Unread,
        }
    }

    fn opens(&self, field: Field, bracket: u8) -> bool {
        match field {
            Field::Items => bracket == b'[',
            Field::Answer | Field::Result | Field::Error | Field::Item | Field::Meta | Field::MetaUi => {
                bracket == b'{'
            }
            _ => false,
        }
    }

    fn found(&mut self, field: Field, text: &str, span: Range<usize>) {
        let raw = text.get(span.clone()).unwrap_or_default();
        match field {
            Field::Error => drop(self.error.get_or_insert_default()),
            Field::Code => self.error.get_or_insert_default().0 = raw.parse().ok(),
            Field::Message => self.error.get_or_insert_default().1 = decode(raw).map(Cow::into_owned),
            Field::NextCursor => {
                self.cursors += 1;
                self.page.next_cursor = decode(raw).map(Cow::into_owned);
            }
            Field::Extra => self.page.extra.push((std::mem::take(&mut self.extra), raw.as_bytes().to_vec())),
            Field::Items => {
                // Anything but an array counts twice, and so as malformed.
                self.lists += if raw.starts_with('[') { 1 } else { 2 };
            }
            Field::Key => self.item.key(self.kind, self.view.target, raw, span),
            Field::Title => self.item.titled = true,
            Field::Link => self.item.link(self.view.target, raw, span),
            Field::InputSchema => self.item.input_schema = Some(span),
            Field::OutputSchema => {
                if let Some(schema) = structured::schema(raw.as_bytes()) {
                    self.item.edits.push((span, schema));
                }
            }
            Field::Execution => self.item.stripped.push(span),
            Field::Item => self.end_item(text, span),
            Field::Answer | Field::Unread | Field::Result | Field::Meta | Field::MetaUi => {}
        }
    }
}

impl<'o> Answer<'o> {
    fn new(kind: Kind, view: View<'o>, text: &str, out: &'o mut Vec<u8>) -> Self {
        Self {
            kind,
            view,
            out,
            page: Page::default(),
            extra: String::new(),
            error: None,
            lists: 0,
            cursors: 0,
            item: Item::default(),
            annotated: kind == Kind::Tools && mirror::may_annotate(text.as_bytes()),
        }
    }

    fn end_item(&mut self, text: &str, span: Range<usize>) {
        let mut item = std::mem::take(&mut self.item);
        let Some((original, edit)) = item.key.take().filter(|_| item.keys == 1) else {
            self.page.dropped += 1;
            return;
        };
        if !self.mirrors(&original, text, item.input_schema.take()) {
            self.page.dropped += 1;
            return;
        }
        if self.kind.has_names() {
            if let Some(target) =
                self.view.target.filter(|target| !names::is_plain(target.as_str(), &original))
            {
                if let Some((_, literal)) = item.edits.get_mut(edit).filter(|_| !item.titled) {
                    literal.extend_from_slice(b",\"title\":");
                    splice::quote(&original, literal);
                }
                self.page.irregular.push((names::federated(target, &original), original.clone()));
            }
            self.page.names.push(original);
        }
        if self.page.items > 0 {
            self.out.push(b',');
        }
        self.page.items += 1;
        item.write(text, span, self.out);
    }

    /// What the tool wants repeated in the head. Whether it is shown.
    fn mirrors(&mut self, name: &str, text: &str, input_schema: Option<Range<usize>>) -> bool {
        if !self.annotated {
            return true;
        }
        let schema = input_schema.and_then(|span| text.get(span)).unwrap_or_default();
        match mirror::mirrors(schema.as_bytes()) {
            Ok(mirrors) if mirrors.is_empty() => true,
            Ok(mirrors) => {
                self.page.mirrors.push((name.to_owned(), mirrors));
                true
            }
            Err(rule) => {
                self.page.invalid.push((name.to_owned(), rule));
                !self.view.drop_invalid
            }
        }
    }

    fn finish(self) -> Result<Page, PageError> {
        if let Some((code, message)) = self.error {
            let code = code.unwrap_or(INTERNAL_ERROR);
            return Err(PageError::Error { code, message: message.unwrap_or_default() });
        }
        if self.lists != 1 || self.cursors > 1 {
            return Err(PageError::Malformed);
        }
        Ok(self.page)
    }
}

impl Item {
    fn key(&mut self, kind: Kind, target: Option<&TargetName>, raw: &str, span: Range<usize>) {
        self.keys += 1;
        let Some(original) = decode(raw) else { return };
        let edit = self.edits.len();
        if let Some(target) = target {
            let federated = match kind.has_names() {
                true => names::federated(target, &original),
                false => uris::federated(target, &original),
            };
            self.replace(span, &federated);
        }
        self.key = Some((original.into_owned(), edit));
    }

    fn link(&mut self, target: Option<&TargetName>, raw: &str, span: Range<usize>) {
        if let (Some(target), Some(uri)) = (target, decode(raw)) {
            self.replace(span, &uris::federated(target, &uri));
        }
    }

    fn replace(&mut self, span: Range<usize>, text: &str) {
        let mut literal = Vec::with_capacity(text.len() + 2);
        splice::quote(text, &mut literal);
        self.edits.push((span, literal));
    }

    /// Appends what stands at `span` of `text`, with all edits made.
    fn write(mut self, text: &str, span: Range<usize>, out: &mut Vec<u8>) {
        if !self.stripped.is_empty() {
            self.edits.extend(params::dropped(text.as_bytes(), self.stripped));
            self.edits.sort_by_key(|(at, _)| at.start);
        }
        let edits: Vec<(Range<usize>, &[u8])> = (self.edits.iter())
            .map(|(at, literal)| (at.start - span.start..at.end - span.start, literal.as_slice()))
            .collect();
        splice::splice(text.get(span).unwrap_or_default().as_bytes(), &edits, out);
    }
}
