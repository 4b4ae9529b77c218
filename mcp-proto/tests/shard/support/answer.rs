//! What a client received, read by a parser that shares nothing with the one under test.

use serde_json::Value;

/// One answer, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

/// One event of a stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    /// Another type than `message`.
    pub(crate) other: Option<String>,
    pub(crate) data: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON, or the last event.
    pub(crate) fn json(&self) -> Value {
        if self.is_stream() {
            return self.messages().pop().unwrap_or_default();
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.field("content-type") == Some("text/event-stream")
    }

    /// The messages of a stream.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let events = self.events().into_iter().filter(|event| event.other.is_none());
        let data = events.filter(|event| !event.data.is_empty());
        data.map(|event| serde_json::from_str(&event.data).unwrap()).collect()
    }

    /// The events of a stream, those without data included.
    pub(crate) fn events(&self) -> Vec<Event> {
        let blocks = self.text().split_inclusive("\n\n").filter_map(|block| block.strip_suffix("\n\n"));
        blocks.map(Event::read).filter(|event| *event != Event::default()).collect()
    }

    /// The JSON-RPC error code in it.
    pub(crate) fn code(&self) -> Option<i64> {
        self.json()["error"]["code"].as_i64()
    }

    /// The text of a tool's result.
    pub(crate) fn tool_text(&self) -> String {
        self.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
}

impl Event {
    fn read(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("retry", retry)) => event.retry = retry.parse().ok(),
                Some(("data", data)) => event.data.push_str(data),
                Some(("event", "message")) => {}
                Some(("event", other)) => event.other = Some(other.to_owned()),
                _ => assert_eq!(line, ":", "in {block:?}"),
            }
        }
        event
    }
}

/// All final answers in `raw`, the last perhaps incomplete; `to_head` says which of them have no body, and `closed`
/// that no more will come.
pub(crate) fn read_answers(raw: &[u8], to_head: &[bool], closed: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = raw;
    while let Some(end) = find(rest, b"\r\n\r\n") {
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        let mut answer = Answer { status, fields: lines.map(field).collect(), ..Answer::default() };
        if status == 100 {
            continue;
        }
        let bodiless = matches!(status, 204 | 304) || to_head.get(answers.len()) == Some(&true);
        rest = read_body(&mut answer, rest, bodiless, closed);
        answers.push(answer);
    }
    if answers.iter().all(|answer| answer.complete) {
        let head = b"HTTP/1.1 ";
        assert_eq!(rest[..rest.len().min(9)], head[..rest.len().min(9)], "bytes that belong to no answer");
    }
    answers
}

fn read_body<'a>(answer: &mut Answer, mut rest: &'a [u8], bodiless: bool, closed: bool) -> &'a [u8] {
    if bodiless {
        answer.complete = true;
    } else if answer.field("transfer-encoding") == Some("chunked") {
        while let Some(end) = find(rest, b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            let Some(data) = rest.get(end + 2..end + 2 + size + 2) else { break };
            assert!(data.ends_with(b"\r\n"));
            answer.body.extend_from_slice(&data[..size]);
            rest = &rest[end + 2 + size + 2..];
            answer.complete = size == 0;
            if answer.complete {
                break;
            }
        }
    } else if let Some(length) = answer.field("content-length") {
        let length: usize = length.parse().unwrap();
        let (body, behind) = rest.split_at(length.min(rest.len()));
        answer.body = body.to_vec();
        answer.complete = body.len() == length;
        rest = behind;
    } else {
        answer.body = rest.to_vec();
        answer.complete = closed;
        rest = b"";
    }
    rest
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
