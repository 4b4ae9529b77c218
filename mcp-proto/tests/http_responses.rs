//! What a target may answer, what breaks its connection, and that the verdict doesn't depend on how the input was cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use mcp_proto::Limits;
use mcp_proto::http::{ClientCodec, Malformed, Method, Response, ResponseEvent};
use proptest::prelude::*;
use std::time::Duration;

/// Everything the codec says about `input`, cut at `cuts`, when it answers requests of these methods, each written
/// when the answer before it was complete; at last the target closes. One line per event.
fn read_cut(methods: &[Method], input: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut codec = ClientCodec::new(&Limits::default());
    let mut methods = methods.iter();
    if let Some(method) = methods.next() {
        codec.expect(*method);
    }
    let mut seen = Vec::new();
    let mut body = Vec::new();
    let mut rest = input;
    let mut taken = 0;
    for cut in cuts.iter().copied().map(Some).chain([Some(input.len()), None]) {
        if let Some(cut) = cut {
            let (piece, behind) = rest.split_at(cut - taken);
            (rest, taken) = (behind, cut);
            codec.feed(piece.into());
        }
        loop {
            match if cut.is_some() { codec.next() } else { codec.eof() } {
                Ok(Some(ResponseEvent::Head(head))) => {
                    seen.push(show(&head));
                    codec.recycle(head.fields);
                }
                Ok(Some(ResponseEvent::Body(piece))) => {
                    assert!(!piece.is_empty(), "an empty piece says nothing");
                    body.extend_from_slice(&piece);
                }
                Ok(Some(ResponseEvent::End)) => {
                    seen.push(format!("body {}", body.escape_ascii()));
                    body.clear();
                    if let Some(method) = methods.next() {
                        codec.expect(*method);
                    }
                }
                Ok(None) => break,
                Err(Malformed(reason)) => {
                    assert_eq!(codec.next().unwrap_err(), Malformed(reason), "it is final");
                    assert!(!codec.is_idle() && !codec.is_untouched());
                    seen.push(reason.to_owned());
                    return seen;
                }
            }
        }
    }
    seen
}

fn show(head: &Response) -> String {
    format!("{} {:?}{}", head.status, head.framing, if head.keep_alive { "" } else { ", last" })
}

fn read(input: &[u8]) -> Vec<String> {
    read_cut(&[Method::Post], input, &[])
}

/// A codec that waits for the answer to a POST.
fn waiting() -> ClientCodec {
    let mut codec = ClientCodec::new(&Limits::default());
    codec.expect(Method::Post);
    codec
}

/// An answer with these lines between the status line and the blank line.
fn ok(lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}").into_bytes()
}

const CUT: &str = "it closed within an answer";
const UNASKED: &str = "it sent bytes that answer nothing";

fn malformed() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    const START: &str = "no answer begins like this";
    const LINE: &str = "the status line is malformed";
    const STATUS: &str = "the status is not one of HTTP";
    const NAME: &str = "a field name is malformed";
    const VALUE: &str = "a field value is malformed";
    const LF: &str = "a line ends without CR";
    const NUMBER: &str = "Content-Length is not a number";
    const CODING: &str = "Transfer-Encoding is malformed";
    const UNKNOWN: &str = "unknown Transfer-Encoding";
    const SIZE: &str = "a chunk size is malformed";
    const CHUNK: &str = "a chunk does not end in CRLF";
    let mut rows: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "9112 6.3",
            ok("Content-Length: 1\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "Content-Length and Transfer-Encoding exclude each other",
        ),
        ("9112 6.3", ok("Content-Length: 1\r\nContent-Length: 1", "a"), "Content-Length is repeated"),
        (
            "9112 6.1",
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "Transfer-Encoding is repeated",
        ),
        (
            "9112 6.1",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            "HTTP/1.0 has no Transfer-Encoding",
        ),
        (
            "9110 7.6.1",
            ok("Connection: content-length\r\nContent-Length: 1", "a"),
            "Connection names a field that is not its own",
        ),
        (
            "9110 15.2.2",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n".to_vec(),
            "it switched protocols unasked",
        ),
        (
            "9110 15.2",
            [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9), ok("Content-Length: 0", "")].concat(),
            "too many interim answers",
        ),
        (
            "9112 4",
            format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(9_000)).into_bytes(),
            "the first line is too long",
        ),
        ("6585 5", ok(&format!("X: {}", "a".repeat(33_000)), ""), "the head is too long"),
        ("6585 5", ok(&vec!["X: a"; 101].join("\r\n"), ""), "the head has too many fields"),
        (
            "9112 7.1.1",
            ok("Transfer-Encoding: chunked", &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(257))),
            "chunk extensions are too long",
        ),
        (
            "9112 7.1.2",
            ok("Transfer-Encoding: chunked", "0\r\nHTTP/1.1 200 OK\r\n\r\n"),
            "a trailer is malformed",
        ),
        ("9112 8", ok("Content-Length: 5", "hell"), CUT),
        ("9112 8", ok("Transfer-Encoding: chunked", "5\r\nhello\r\n"), CUT),
        ("9112 8", ok("Transfer-Encoding: chunked", "5\r\nhel"), CUT),
        ("9112 8", ok("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"), CUT),
        ("9112 8", ok("Transfer-Encoding: chunked", "5"), CUT),
        ("9112 8", ok("Transfer-Encoding: chunked", ""), CUT),
        ("9112 8", b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), "it closed without an answer"),
        ("9112 8", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), "it closed without an answer"),
        ("9112 8", b"".to_vec(), "it closed without an answer"),
        ("9112 9.2", ok("Content-Length: 1", "ab"), UNASKED),
        ("9112 9.2", ok("Content-Length: 0", "\r\n"), UNASKED),
        ("9112 9.2", ok("Transfer-Encoding: chunked", "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), UNASKED),
        ("9112 6.3", b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na".to_vec(), UNASKED),
    ];
    let mut push = |section, inputs: &[&str], make: &dyn Fn(&str) -> Vec<u8>, reason| {
        rows.extend(inputs.iter().map(|input| (section, make(input), reason)));
    };
    let raw = |head: &str| format!("{head}\r\n\r\n").into_bytes();
    let starts = [
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "http/1.1 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "ICY 200 OK",
        "{\"jsonrpc\":\"2.0\"}",
        "200 OK",
        "\0",
        "HTTPS/1.1 200 OK",
        "HTTP/0.9 200 OK",
        "\u{feff}HTTP/1.1 200 OK",
    ];
    push("9112 4", &starts, &raw, START);
    push("9112 4", &["HTTP/1.1 099 X", "HTTP/1.1 600 X", "HTTP/1.1 999 X", "HTTP/1.1 000 X"], &raw, STATUS);
    let lines = [
        "HTTP/1.1   200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 200 \x01",
        "HTTP/1.1 200 a\0",
        "HTTP/1.1 200 \x7f",
        "HTTP/1.1 200\tOK",
    ];
    push("9112 4", &lines, &raw, LINE);
    push(
        "9112 2.3",
        &["HTTP/1.2 200 OK", "HTTP/1. 200 OK", "HTTP/1.10 200 OK"],
        &raw,
        "the first line is malformed",
    );
    push("9112 2.2", &["HTTP/1.1 200 OK\n", "HTTP/1.1 200 OK\r\nX: a\n", "HTTP/1.1 200 OK\nX: a"], &raw, LF);
    push(
        "9112 5.1",
        &["Content-Length : 1", "X: a\r\n b", " X: a", "X", ": a", "X Y: a"],
        &|lines| ok(lines, "a"),
        NAME,
    );
    push("9110 5.5", &["X: a\0", "X: \x7f", "X: a\rb", "X: \x0b"], &|lines| ok(lines, ""), VALUE);
    push(
        "9110 8.6",
        &["", "+1", "1, 1", "0x1", "10000000000000000000"],
        &|value| ok(&format!("Content-Length: {value}"), "a"),
        NUMBER,
    );
    let coding = |value: &str| ok(&format!("Transfer-Encoding: {value}"), "0\r\n\r\n");
    push("9112 6.1", &["", "chunked, chunked", ",chunked", "chunked;q=1", "chunked, gzip"], &coding, CODING);
    push("9112 6.1", &["identity", "gzip", "gzip, chunked", "xchunked"], &coding, UNKNOWN);
    let chunked = |body: &str| ok("Transfer-Encoding: chunked", body);
    push(
        "9112 7.1",
        &["\r\n", "+1\r\na", "0x1\r\na", "1 \r\na", "1\na", ";\r\n", "00000000000000001\r\na"],
        &chunked,
        SIZE,
    );
    push("9112 7.1", &["1\r\nab", "1\r\na\nb", "1\rxa"], &chunked, CHUNK);
    rows
}

#[test]
fn what_can_be_read_in_two_ways_breaks_the_connection() {
    let wrong: Vec<_> = malformed()
        .into_iter()
        .map(|(section, input, reason)| (section, read(&input), input, reason))
        .filter(|(_, seen, _, reason)| seen.last().map(String::as_str) != Some(reason))
        .map(|(section, seen, input, reason)| {
            format!("RFC {section}: {} gives {seen:?}, not {reason}", input.escape_ascii())
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_sound_is_read() {
    use Method::{Get, Head, Post};
    let rows: &[(&str, Method, &[u8], &[&str])] = &[
        ("9112 6.3", Post, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", &["200 Length(2)", "body ab"]),
        ("9112 6.3", Post, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", &["202 Length(0)", "body "]),
        ("9112 7.1", Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA;x\r\n0123456789\r\n0\r\nX: y\r\n\r\n", &["200 Chunked", "body 0123456789"]),
        ("9112 6.3", Get, b"HTTP/1.1 200 OK\r\n\r\nab\r\ncd", &["200 UntilClose, last", "body ab\\r\\ncd"]),
        ("9112 6.3", Get, b"HTTP/1.1 200 OK\r\n\r\n", &["200 UntilClose, last", "body "]),
        ("9112 6.3", Head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &["200 None", "body "]),
        ("9112 6.3", Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &["200 None", "body "]),
        ("9112 6.3", Head, b"HTTP/1.1 200 OK\r\n\r\n", &["200 None", "body "]),
        ("9112 6.3", Post, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", &["204 None", "body "]),
        ("9112 6.3", Get, b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", &["304 None", "body "]),
        ("9112 4", Get, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", &["200 Length(0)", "body "]),
        ("9112 4", Get, b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", &["299 Length(0)", "body "]),
        ("9112 4", Get, b"HTTP/1.1 500 \xe9\xff!\r\nContent-Length: 0\r\n\r\n", &["500 Length(0)", "body "]),
        ("9112 9.3", Get, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", &["200 Length(1), last", "body a"]),
        ("9112 9.3", Get, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", &["200 Length(1)", "body a"]),
        ("9112 9.6", Get, b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\na", &["200 Length(1), last", "body a"]),
        ("9110 15.2", Post, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", &["200 Length(1)", "body a"]),
        ("9110 5.5", Get, b"HTTP/1.1 200 OK\r\nX: \xe9\r\nHost: a\r\nHost: b\r\nExpect: c\r\nContent-Length: 0\r\n\r\n", &["200 Length(0)", "body "]),
    ];
    for (section, method, input, expected) in rows {
        assert_eq!(&read_cut(&[*method], input, &[]), expected, "RFC {section}: {}", input.escape_ascii());
    }
    let eight = [b"HTTP/1.1 102 Processing\r\n\r\n".repeat(8), ok("Content-Length: 0", "")].concat();
    assert_eq!(read(&eight), ["200 Length(0)", "body "], "RFC 9110 15.2");
    assert_eq!(read_cut(&[], b"", &[]), [""; 0], "a close between answers is fine");
    assert_eq!(read_cut(&[], b"HTTP/1.1 408 Request Timeout\r\n\r\n", &[]), [UNASKED], "RFC 9112 9.2");
}

/// RFC 9112 9.2: an answer must never reach the request after the one it was sent for.
#[test]
fn bytes_behind_an_answer_never_answer_the_next_request() {
    let mut codec = waiting();
    codec.feed([ok("Content-Length: 0", ""), ok("Content-Length: 6", "poison")].concat()[..].into());
    assert!(matches!(codec.next(), Ok(Some(ResponseEvent::Head(_)))));
    assert!(matches!(codec.next(), Ok(Some(ResponseEvent::End))), "the answer itself is whole");
    assert!(!codec.is_idle());
    codec.expect(Method::Post);
    assert_eq!(codec.next().unwrap_err(), Malformed(UNASKED));

    let mut codec = ClientCodec::new(&Limits::default());
    codec.feed(ok("Content-Length: 0", "")[..].into());
    codec.expect(Method::Post);
    assert_eq!(codec.next().unwrap_err(), Malformed(UNASKED));
    assert_eq!(codec.eof().unwrap_err(), Malformed(UNASKED));
}

#[test]
fn one_answer_is_due_at_a_time() {
    let mut codec = waiting();
    codec.expect(Method::Get);
    assert_eq!(codec.next().unwrap_err(), Malformed("an answer is still due"));
}

/// What the retry rule asks (RFC 9112 9.3.1).
#[test]
fn a_request_is_untouched_until_a_byte_comes() {
    let mut codec = ClientCodec::new(&Limits::default());
    assert!(codec.is_idle() && !codec.is_untouched());
    codec.expect(Method::Post);
    assert!(!codec.is_idle() && codec.is_untouched());
    codec.feed(b"H"[..].into());
    assert!(!codec.is_untouched());

    let mut codec = waiting();
    codec.feed(b"HTTP/1.1 100 Continue\r\n\r\n"[..].into());
    assert!(matches!(codec.next(), Ok(None)));
    assert!(!codec.is_untouched(), "an interim answer is one too");
    codec.feed(ok("Content-Length: 0", "")[..].into());
    assert!(matches!(codec.next(), Ok(Some(ResponseEvent::Head(_)))));
    assert!(!codec.is_idle());
    assert!(matches!(codec.next(), Ok(Some(ResponseEvent::End))));
    assert!(codec.is_idle());
    codec.expect(Method::Post);
    assert!(codec.is_untouched());
}

#[test]
fn a_connection_serves_one_answer_after_another() {
    let first = ok("Transfer-Encoding: chunked", "1\r\na\r\n0\r\n\r\n");
    let second = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec();
    let third = ok("X: a", "rest");
    let input = [&first[..], &second, &third].concat();
    let seen = read_cut(
        &[Method::Post, Method::Head, Method::Get],
        &input,
        &[first.len(), first.len() + second.len()],
    );
    assert_eq!(seen, ["200 Chunked", "body a", "200 None", "body ", "200 UntilClose, last", "body rest"]);
}

/// A target that closes before all was taken from the codec still had sent it.
#[test]
fn eof_hands_out_what_is_held_first() {
    let mut codec = waiting();
    codec.feed(ok("X: a", "rest")[..].into());
    assert!(matches!(codec.eof(), Ok(Some(ResponseEvent::Head(_)))));
    assert!(matches!(codec.eof(), Ok(Some(ResponseEvent::Body(body))) if body == "rest"));
    assert!(matches!(codec.eof(), Ok(Some(ResponseEvent::End))));
    assert!(matches!(codec.eof(), Ok(None)));
}

#[test]
fn a_target_tells_how_long_it_keeps_a_connection() {
    let hint = |value: &str| {
        let mut codec = waiting();
        codec.feed(ok(value, "")[..].into());
        match codec.next() {
            Ok(Some(ResponseEvent::Head(head))) => head.idle_hint(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hint("Keep-Alive: timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(hint("keep-alive: max=100 , Timeout = 72"), Some(Duration::from_secs(72)));
    for none in [
        "Keep-Alive: max=1",
        "Keep-Alive: timeout=",
        "Keep-Alive: timeout=-1",
        "Keep-Alive: timeout=x",
        "X: timeout=1",
    ] {
        assert_eq!(hint(none), None, "{none}");
    }
}

fn answers() -> Vec<Vec<u8>> {
    vec![
        [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), ok("Content-Length: 5", "hello")].concat(),
        ok("Transfer-Encoding: chunked", "3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n"),
        ok("X: a", "until close"),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    ]
}

#[test]
fn no_cut_changes_what_is_read() {
    for input in answers() {
        let whole = read(&input);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let cut = read_cut(&[Method::Post], &input, &[first, second]);
                assert_eq!(cut, whole, "{} cut at {first} and {second}", input.escape_ascii());
            }
        }
    }
    for (_, input, _) in malformed() {
        let whole = read(&input);
        // Long ones are long for their length alone.
        for cut in 0..=input.len().min(500) {
            assert_eq!(
                read_cut(&[Method::Post], &input, &[cut]),
                whole,
                "{} cut at {cut}",
                input.escape_ascii()
            );
        }
    }
}

proptest! {
    #[test]
    fn any_input_is_read_the_same_however_it_is_cut(
        parts in prop::collection::vec(prop::sample::select(answers().into_iter().chain(malformed().into_iter().map(|row| row.1)).collect::<Vec<_>>()), 0..3),
        noise in prop::collection::vec(any::<u8>(), 0..8),
        at in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut input = parts.concat();
        let at = at.index(input.len() + 1);
        input.splice(at..at, noise);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read_cut(&[Method::Get], &input, &cuts), read_cut(&[Method::Get], &input, &[]));
    }
}
