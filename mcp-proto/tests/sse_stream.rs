//! Event streams: the WHATWG grammar (HTML, 9.2.5 and 9.2.6) as a table, cut anywhere; and what we write, read back.
#![cfg(test)]

use bytes::Bytes;
use mcp_proto::sse::{End, Item, LONGEST_FIELD, Parser, write};
use proptest::prelude::*;

/// Events with their data joined, and the data of an event that has not ended.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(Vec<u8>, End)>, Vec<u8>) {
    let (mut parser, mut events, mut data) = (Parser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        parser.feed(Bytes::copy_from_slice(piece));
        while let Some(item) = parser.next() {
            match item {
                Item::Data(piece) => {
                    assert!(!piece.is_empty());
                    data.extend_from_slice(&piece);
                }
                Item::End(end) => events.push((std::mem::take(&mut data), end)),
            }
        }
    }
    (events, data)
}

fn message(data: &str) -> (Vec<u8>, End) {
    (data.into(), End { data: true, ..End::default() })
}

fn with_id(data: &str, id: &str) -> (Vec<u8>, End) {
    (data.into(), End { data: true, id: Some(Bytes::copy_from_slice(id.as_bytes())), ..End::default() })
}

fn with_event(data: &str, event: &'static str) -> (Vec<u8>, End) {
    (data.into(), End { data: true, event: Some(event.into()), ..End::default() })
}

fn only(end: End) -> (Vec<u8>, End) {
    (Vec::new(), end)
}

type Events = Vec<(Vec<u8>, End)>;

/// What each stream means, whatever it is cut into.
fn corpus() -> Vec<(&'static [u8], Events)> {
    let id = |id: &'static [u8]| End { id: Some(Bytes::from_static(id)), ..End::default() };
    let retry = |retry| End { retry: Some(retry), ..End::default() };
    vec![
        // Line ends: LF, CR, CRLF, mixed.
        (b"data: a\n\ndata: b\n\n", vec![message("a"), message("b")]),
        (b"data: a\r\rdata: b\r\r", vec![message("a"), message("b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", vec![message("a"), message("b")]),
        (b"data: a\r\n\rdata: b\n\r\n", vec![message("a"), message("b")]),
        (b"data: a\n\rdata: b\r\r\n", vec![message("a"), message("b")]),
        // One space behind the colon is skipped, only one, and only a space.
        (b"data:a\n\n", vec![message("a")]),
        (b"data:  a \n\n", vec![message(" a ")]),
        (b"data:\ta\n\n", vec![message("\ta")]),
        (b"data: a:b: c\n\n", vec![message("a:b: c")]),
        // Several lines are joined by LF.
        (b"data: a\ndata: b\r\ndata: c\r\r", vec![message("a\nb\nc")]),
        (b"data: a\nid: 1\n: comment\ndata: b\n\n", vec![with_id("a\nb", "1")]),
        (b"data\n\n", vec![message("")]),
        (b"data:\n\n", vec![message("")]),
        (b"data: \n\n", vec![message("")]),
        (b"data\ndata\n\ndata:", vec![message("\n")]),
        (b"data: a\ndata\n\n", vec![message("a\n")]),
        // Comments and blank lines are nothing.
        (b":\n\n: ping\n\n\n\n:data: x\n\ndata: a\n\n", vec![message("a")]),
        // A byte order mark, once, at the start only.
        (b"\xef\xbb\xbfdata: a\n\n", vec![message("a")]),
        (b"\xef\xbb\xbf\n\ndata: a\n\n", vec![message("a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", vec![message("b")]),
        (b"\xef\xbbdata: a\n\ndata: b\n\n", vec![message("b")]),
        (b"\xef\n\ndata: b\n\n", vec![message("b")]),
        (b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", vec![message("b")]),
        // Event types; the last one counts, an empty one is `message`.
        (b"event: ping\ndata: a\n\ndata: b\n\n", vec![with_event("a", "ping"), message("b")]),
        (b"data: a\nevent: ping\n\n", vec![with_event("a", "ping")]),
        (b"event: x\nevent: y\ndata: a\n\n", vec![with_event("a", "y")]),
        (b"event: x\nevent\ndata: a\n\n", vec![message("a")]),
        (b"event: \xff\ndata: a\n\n", vec![with_event("a", "\u{fffd}")]),
        // Ids: anywhere in the event, may be empty, not with NUL; they count without data.
        (b"id: 1\ndata: a\n\n", vec![with_id("a", "1")]),
        (b"data: a\nid: 1\n\n", vec![with_id("a", "1")]),
        (b"data: a\nid\n\n", vec![with_id("a", "")]),
        (b"id: 1\nid: 2\0\ndata: a\n\n", vec![with_id("a", "1")]),
        (b"id: 7\n\n", vec![only(id(b"7"))]),
        (b"id: 7\n\ndata: a\n\n", vec![only(id(b"7")), message("a")]),
        // Retry: digits only.
        (b"retry: 1500\n\n", vec![only(retry(1500))]),
        (b"retry: 1500\nretry: 1.5\nretry: -1\nretry:  2\nretry\n\n", vec![only(retry(1500))]),
        (b"retry: 99999999999999999999999\n\ndata: a\n\n", vec![message("a")]),
        // Field names are exact.
        (b"Data: x\ndata : x\n data: x\ndatas: x\ndat: x\nlonger-than-any: x\n\n", vec![]),
        (b"dat\0a: x\n\ndata: a\n\n", vec![message("a")]),
        // What has not ended is not reported.
        (b"data: a\n", vec![]),
        (b"data: a\n\nid: 9\ndata: b", vec![message("a")]),
    ]
}

#[test]
fn the_grammar_holds_wherever_the_stream_is_cut() {
    for (stream, expected) in corpus() {
        let shown = String::from_utf8_lossy(stream);
        assert_eq!(read([stream]).0, expected, "{shown:?}");
        assert_eq!(read(stream.chunks(1)).0, expected, "{shown:?} byte by byte");
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(read(pieces).0, expected, "{shown:?} cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn items_come_as_soon_as_their_bytes_do() {
    let mut parser = Parser::new();
    let mut next = |bytes: &'static [u8]| {
        parser.feed(Bytes::from_static(bytes));
        std::iter::from_fn(|| parser.next()).collect::<Vec<_>>()
    };
    let data = |bytes: &'static [u8]| Item::Data(Bytes::from_static(bytes));
    let end = || Item::End(End { data: true, ..End::default() });
    assert_eq!(next(b"da"), []);
    assert_eq!(next(b"ta: {\"a\""), [data(b"{\"a\"")]);
    assert_eq!(next(b":1}"), [data(b":1}")]);
    assert_eq!(next(b"\r\ndata:"), [data(b"\n")]);
    assert_eq!(next(b" x\r"), [data(b"x")]);
    // The second CR ends the event; it may still be half of a CRLF.
    assert_eq!(next(b"\n\r"), [end()]);
    assert_eq!(next(b"\ndata: y\n\n"), [data(b"y"), end()]);
}

#[test]
fn data_is_never_copied() {
    let stream = Bytes::from_static(b"data: first\ndata: second\n\n");
    let mut parser = Parser::new();
    parser.feed(stream.clone());
    let inside = stream.as_ptr_range();
    let lines = std::iter::from_fn(|| parser.next())
        .filter(|item| matches!(item, Item::Data(line) if line != "\n" && inside.contains(&line.as_ptr())))
        .count();
    assert_eq!(lines, 2);
}

#[test]
fn a_field_that_is_too_long_is_ignored_and_not_kept() {
    let value = "x".repeat(LONGEST_FIELD);
    let (events, _) = read([format!("id: {value}\nevent: {value}\ndata: a\n\n").as_bytes()]);
    assert_eq!(events[0].1.id.as_deref(), Some(value.as_bytes()));
    assert_eq!(events[0].1.event.as_deref(), Some(value.as_str()));

    let stream = format!("id: 1\nid: {value}x\nevent: {value}x\nretry: 0{value}\ndata: a\n\n");
    for size in [1, 7, LONGEST_FIELD, stream.len()] {
        assert_eq!(read(stream.as_bytes().chunks(size)).0, [with_id("a", "1")]);
    }
}

#[test]
fn writes_events_byte_for_byte() {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(&|out| write::event(out, None, b"{}")), "event: message\ndata: {}\n\n");
    assert_eq!(written(&|out| write::event(out, Some("7"), b"{}")), "event: message\nid: 7\ndata: {}\n\n");
    assert_eq!(written(&|out| write::end_with(out, None)), "\n\n");
    assert_eq!(written(&|out| write::end_with(out, Some("7"))), "\nid: 7\n\n");
    assert_eq!(written(&|out| write::prime(out, "7")), "id: 7\ndata: \n\n");
    assert_eq!(written(&|out| write::retry(out, 1500)), "retry: 1500\n");
    assert_eq!(read([write::COMMENT]), (vec![], vec![]));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        messages in prop::collection::vec(("[^\r\n]{0,40}", prop::option::of("[a-z0-9]{1,9}")), 0..6),
        milliseconds: u64,
        size in 1_usize..20,
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        write::retry(&mut stream, milliseconds);
        write::prime(&mut stream, "p");
        let mut first = with_id("", "p");
        first.1.retry = Some(milliseconds);
        expected.push(first);
        for (data, id) in &messages {
            stream.extend_from_slice(write::COMMENT);
            write::event(&mut stream, id.as_deref(), data.as_bytes());
            let mut event = with_event(data, "message");
            event.1.id = id.clone().map(Bytes::from);
            expected.push(event);
        }
        prop_assert_eq!(read(stream.chunks(size)), (expected, vec![]));
    }

    #[test]
    fn any_cut_of_anything_reads_the_same(
        stream in prop::collection::vec(
            prop_oneof![
                Just(b"data".to_vec()), Just(b"id".to_vec()), Just(b"event".to_vec()), Just(b"retry".to_vec()),
                Just(b":".to_vec()), Just(b" ".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()),
                Just(b"\xef\xbb\xbf".to_vec()), Just(b"42".to_vec()), prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..40,
        ).prop_map(|parts| parts.concat()),
        size in 1_usize..12,
    ) {
        prop_assert_eq!(read(stream.chunks(size)), read([stream.as_slice()]));
    }
}

#[test]
fn a_parser_knows_when_nothing_of_an_event_has_come() {
    let mut parser = Parser::new();
    assert!(!parser.is_between_events(), "a byte order mark may come");
    let pieces = [
        ("data: x\n", false),
        ("\n", true),
        (": a comment\n\n", true),
        ("i", false),
        ("d: 1\r\n", false),
        ("\r\n", true),
        // A line feed may belong to it.
        ("data: x\r\r", false),
        ("\n", true),
    ];
    for (piece, between) in pieces {
        parser.feed(piece.into());
        while parser.next().is_some() {}
        assert_eq!(parser.is_between_events(), between, "after {piece:?}");
    }
}
