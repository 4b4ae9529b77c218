//! What a client may send, what it is refused for, and that the verdict doesn't depend on how the input was cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod refused;

use mcp_proto::Limits;
use mcp_proto::http::{Framing, Method, Refusal, Request, RequestEvent, ServerCodec};
use proptest::prelude::*;
use refused::refused;

/// Everything the codec says about `input`, cut at `cuts`: one line per head, body (its pieces joined) and end, and
/// the refusal if there is one.
fn read_cut(limits: &Limits, input: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut codec = ServerCodec::new(limits);
    let mut seen = Vec::new();
    let mut body = Vec::new();
    let mut rest = input;
    let mut taken = 0;
    for cut in cuts.iter().copied().chain([input.len()]) {
        let (piece, behind) = rest.split_at(cut - taken);
        (rest, taken) = (behind, cut);
        codec.feed(piece.into());
        loop {
            match codec.next() {
                Ok(Some(RequestEvent::Head(head))) => {
                    seen.push(show(&head));
                    codec.recycle(head.fields);
                }
                Ok(Some(RequestEvent::Body(piece))) => {
                    assert!(!piece.is_empty(), "an empty piece says nothing");
                    body.extend_from_slice(&piece);
                }
                Ok(Some(RequestEvent::End)) => {
                    seen.push(format!("body {}", body.escape_ascii()));
                    body.clear();
                    codec.proceed();
                }
                Ok(None) => break,
                Err(Refusal { status, reason }) => {
                    codec.feed(b"GET"[..].into());
                    assert_eq!(codec.next().unwrap_err(), Refusal { status, reason }, "it is final");
                    assert_eq!(codec.held(), 0, "nothing is kept of what will not be read");
                    seen.push(format!("{status} {reason}"));
                    return seen;
                }
            }
        }
    }
    if !body.is_empty() {
        seen.push(format!("part {}", body.escape_ascii()));
    }
    if codec.is_in_head() {
        seen.push(format!("{} held", codec.held()));
    }
    seen
}

fn show(head: &Request) -> String {
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut line = format!(
        "{} {}{query} of {:?}, {:?}",
        head.method.as_str(),
        head.path(),
        head.authority(),
        head.framing
    );
    for (flag, name) in [(head.http10, "1.0"), (!head.keep_alive, "last"), (head.expect_continue, "waits")] {
        if flag {
            line.push_str(", ");
            line.push_str(name);
        }
    }
    line
}

fn read(input: &[u8]) -> Vec<String> {
    read_cut(&Limits::default(), input, &[])
}

fn head(input: &[u8]) -> Request {
    let mut codec = ServerCodec::new(&Limits::default());
    codec.feed(input.into());
    match codec.next() {
        Ok(Some(RequestEvent::Head(head))) => head,
        other => panic!("{other:?}"),
    }
}

/// A POST with these lines between `Host` and the blank line.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}").into_bytes()
}

fn chunks(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

/// A request with this first line.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let rows = refused();
    assert!(rows.len() > 200, "{}", rows.len());
    let mut wrong = Vec::new();
    for (section, input, status, reason) in rows {
        let seen = read(&input);
        // A fault in the body comes behind the head, one in the head comes alone.
        if seen.last() != Some(&format!("{status} {reason}")) || seen.len() > 2 {
            wrong.push(format!(
                "RFC {section}: {} gives {seen:?}, not {status} {reason}",
                input.escape_ascii()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is accepted: section, input, what is seen.
#[test]
fn what_is_sound_is_read() {
    let rows: &[(&str, &[u8], &[&str])] = &[
        ("9112 3.2.1", b"GET /mcp?a=b?c HTTP/1.1\r\nHost: a:80\r\n\r\n", &["GET /mcp?a=b?c of \"a:80\", None", "body "]),
        ("9112 3.2.1", b"GET /? HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", &["GET /? of \"[::1]:8080\", None", "body "]),
        ("9112 3.2.2", b"GET http://b:1/x HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /x of \"b:1\", None", "body "]),
        ("9112 3.2.2", b"GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", &["GET / of \"b\", None", "body "]),
        ("9112 3.2.2", b"GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /?q of \"b\", None", "body "]),
        ("9112 3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["OPTIONS * of \"a\", None", "body "]),
        ("3986 2.1", b"GET /%2e%2E/a%20b?%zz HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /%2e%2E/a%20b?%zz of \"a\", None", "body "]),
        ("9110 9.1", b"get / HTTP/1.1\r\nHost: a\r\n\r\nM-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n", &["get / of \"a\", None", "body ", "M-!#$%&'*+.^_`|~9 / of \"a\", None", "body "]),
        ("9112 3.2", b"GET //b/c HTTP/1.1\r\nHost: a:\r\n\r\n", &["GET //b/c of \"a:\", None", "body "]),
        ("9112 2.2", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", &["GET / of \"a\", None", "body ", "GET / of \"b\", None", "body "]),
        ("9112 9.3", b"GET / HTTP/1.0\r\n\r\n", &["GET / of \"\", None, 1.0, last", "body "]),
        ("9112 9.3", b"GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", &["GET / of \"\", None, 1.0", "body "]),
        ("9112 9.3", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", &["GET / of \"\", None, 1.0, last", "body "]),
        ("9112 9.6", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x,CLOSE\r\n\r\n", &["GET / of \"a\", None, last", "body "]),
        ("1945 8.3", b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", &["POST / of \"\", Length(2), 1.0, last", "body ab"]),
        ("9110 9.3.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", &["GET / of \"a\", Length(2)", "body ab"]),
        ("9110 9.3.5", b"DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nab\r\n0\r\n\r\n", &["DELETE / of \"a\", Chunked", "body ab"]),
        ("9110 8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t0002 \r\n\r\nab", &["POST / of \"a\", Length(2)", "body ab"]),
        ("9112 6.3", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &["POST / of \"a\", None", "body "]),
        ("9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n", &["POST / of \"a\", Length(2), waits"]),
        ("9110 10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", &["POST / of \"a\", Length(0)", "body "]),
        ("9110 10.1.1", b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", &["POST / of \"\", Length(2), 1.0, last", "body ab"]),
        ("9110 7.8", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n", &["GET / of \"a\", None", "body ", "505 HTTP/1.0 and HTTP/1.1 only"]),
        ("9112 7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\r\n\r\n0A\r\n0123456789\r\n000\r\n\r\n", &["POST / of \"a\", Chunked", "body a\\r\\n0123456789"]),
        ("9112 7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a;b=\"\t\xe9\"\r\na\r\n0;c\r\n\r\n", &["POST / of \"a\", Chunked", "body a"]),
        ("9110 6.5", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\nHost: b\r\nX:\r\n\r\n", &["POST / of \"a\", Chunked", "body "]),
        ("9112 9.3", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n", &["GET / of \"a\", None", "body ", "400 a field name is malformed"]),
    ];
    for (section, input, expected) in rows {
        assert_eq!(&read(input), expected, "RFC {section}: {}", input.escape_ascii());
    }
}

#[test]
fn every_method_has_its_name() {
    use Method::{Delete, Get, Head, Options, Patch, Post, Put, Trace};
    for method in [Get, Head, Post, Put, Delete, Options, Patch, Trace] {
        assert_eq!(head(&line(&format!("{} / HTTP/1.1", method.as_str()))).method, method);
    }
}

#[test]
fn fields_are_found_whatever_their_case() {
    let request = head(b"POST / HTTP/1.1\r\nHOST: a\r\naccept: x , text/Event-Stream\r\nAccept: y\r\nX-Bin: \xff\r\nX-Empty: \r\n\r\n");
    let fields = &request.fields;
    assert_eq!(fields.first("Accept"), Some(&b"x , text/Event-Stream"[..]));
    assert_eq!(fields.text("host"), Some("a"));
    assert_eq!((fields.first("x-bin"), fields.text("x-bin")), (Some(&b"\xff"[..]), None));
    assert_eq!(fields.text("x-empty"), Some(""));
    assert_eq!((fields.first("x"), fields.text("x")), (None, None));
    assert_eq!([fields.count("ACCEPT"), fields.count("host"), fields.count("none")], [2, 1, 0]);
    assert!(fields.lists("accept", "text/event-stream") && fields.lists("accept", "Y"));
    assert!(!fields.lists("accept", "text") && !fields.lists("none", ""));
    let names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["HOST", "accept", "Accept", "X-Bin", "X-Empty"]);
}

/// RFC 9110 7.6.1.
#[test]
fn fields_of_one_connection_do_not_travel_on() {
    let request = head(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop , close\r\nconnection: x-other\r\nKeep-Alive: a\r\nProxy-Connection: a\r\n\
          Proxy-Authenticate: a\r\nProxy-Authorization: a\r\nTE: a\r\nTrailer: a\r\nContent-Length: 0\r\nUpgrade: a\r\nx-hop: a\r\n\
          X-OTHER: a\r\nX-Hop-Not: b\r\nAuthorization: c\r\n\r\n",
    );
    let kept: Vec<_> = request.fields.end_to_end().collect();
    let expected =
        [("Host", &b"a"[..]), ("Content-Length", b"0"), ("X-Hop-Not", b"b"), ("Authorization", b"c")];
    assert_eq!(kept, expected);
    let chunked = head(&chunks(""));
    assert_eq!(chunked.fields.end_to_end().collect::<Vec<_>>(), [("Host", &b"a"[..])]);
}

#[test]
fn values_are_not_shown_in_debug_output() {
    let request = head(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\n\r\n");
    assert_eq!(format!("{:?}", request.fields), "[\"Host\", \"Authorization\"]");
}

/// One request is in flight; what was sent behind it waits, unread.
#[test]
fn pipelined_requests_are_held_until_proceed() {
    let first = post("Content-Length: 2", "ab");
    let second = line("GET /next HTTP/1.1");
    let mut codec = ServerCodec::new(&Limits::default());
    assert!(codec.is_idle() && !codec.is_in_head());
    codec.feed([&first[..], &second].concat()[..].into());
    assert!(codec.is_in_head() && !codec.is_idle());
    assert!(matches!(codec.next(), Ok(Some(RequestEvent::Head(_)))));
    codec.proceed();
    assert!(
        matches!(codec.next(), Ok(Some(RequestEvent::Body(body))) if body == "ab"),
        "proceed came too early"
    );
    assert!(matches!(codec.next(), Ok(Some(RequestEvent::End))));
    for _ in 0..2 {
        assert!(matches!(codec.next(), Ok(None)));
    }
    assert!(!codec.is_idle() && !codec.is_in_head());
    assert_eq!(codec.held(), second.len());
    codec.feed(b"GET"[..].into());
    codec.proceed();
    assert!(matches!(codec.next(), Ok(Some(RequestEvent::Head(head))) if head.path() == "/next"));
    assert!(matches!(codec.next(), Ok(Some(RequestEvent::End))));
    codec.proceed();
    assert!(matches!(codec.next(), Ok(None)));
    assert!(codec.is_in_head() && codec.held() == 3);
}

/// A head and a body that came in one read are handed out as slices of it.
#[test]
fn nothing_is_copied() {
    let input = bytes::BytesMut::from(&post("Content-Length: 5", "hello")[..]);
    let (start, body_at) = (input.as_ptr() as usize, input.len() - 5);
    let mut codec = ServerCodec::new(&Limits::default());
    codec.feed(input);
    let Ok(Some(RequestEvent::Head(head))) = codec.next() else { panic!("no head") };
    assert_eq!(head.path().as_ptr() as usize, start + "POST ".len());
    let Ok(Some(RequestEvent::Body(body))) = codec.next() else { panic!("no body") };
    assert_eq!(body.as_ptr() as usize, start + body_at);
}

#[test]
fn limits_hold_to_the_byte() {
    let limits = Limits { head: 9_000, fields: 3, request: 10, ..Limits::default() };
    let last = |input: Vec<u8>| read_cut(&limits, &input, &[]).pop().unwrap_or_default();
    // "GET /" and " HTTP/1.1" take 14 bytes of the 8192 of the first line.
    assert_eq!(last(line(&format!("GET /{} HTTP/1.1", "a".repeat(8_178)))), "body ");
    assert_eq!(last(line(&format!("GET /{} HTTP/1.1", "a".repeat(8_179)))), "414 the first line is too long");
    assert_eq!(last("G".repeat(8_193).into_bytes()), "8193 held");
    assert_eq!(last("G".repeat(8_194).into_bytes()), "414 the first line is too long");
    let head = |size: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size - 32)).into_bytes()
    };
    assert_eq!((head(9_000).len(), last(head(9_000)).as_str()), (9_000, "body "));
    assert_eq!(last(head(9_001)), "431 the head is too long");
    assert_eq!(last(head(9_005)[..9_000].to_vec()), "9000 held");
    assert_eq!(last(head(9_005)[..9_001].to_vec()), "431 the head is too long");
    assert_eq!(last(post("A: 1\r\nB: 2", "")), "body ");
    assert_eq!(last(post("A: 1\r\nB: 2\r\nC: 3", "")), "431 the head has too many fields");
    assert_eq!(last(post("Content-Length: 10", "0123456789")), "body 0123456789");
    assert_eq!(last(post("Content-Length: 11", "")), "413 the body is too large");
    assert_eq!(last(chunks("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")), "body 0123456789");
    assert_eq!(last(chunks("5\r\n01234\r\n6\r\n")), "413 the body is too large");
    assert_eq!(
        last(chunks(&format!("1;{}\r\na\r\n0;{}\r\n\r\n", "x".repeat(200), "x".repeat(54)))),
        "body a"
    );
    assert_eq!(
        last(chunks(&format!("1;{}\r\na\r\n0;{}\r\n\r\n", "x".repeat(200), "x".repeat(55)))),
        "400 chunk extensions are too long"
    );
    assert_eq!(last(chunks("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n")), "body ");
    assert_eq!(last(chunks("0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n")), "431 the trailers are too long");
    assert_eq!(last(chunks(&format!("0\r\nA: {}\r\n\r\n", "x".repeat(8_993)))), "body ");
    assert_eq!(
        last(chunks(&format!("0\r\nA: {}\r\n\r\n", "x".repeat(8_994)))),
        "431 the trailers are too long"
    );
    assert_eq!(last(chunks(&format!("0\r\nA: {}", "x".repeat(8_998)))), "431 the trailers are too long");
}

/// One limit more than there is room on the stack for.
#[test]
fn more_fields_than_a_head_can_have_are_refused() {
    let limits = Limits { fields: 1_000, ..Limits::default() };
    let with = |count: usize| post(&vec!["A: 1"; count - 1].join("\r\n"), "");
    assert_eq!(read_cut(&limits, &with(256), &[]), ["POST /mcp of \"a\", None", "body "]);
    assert_eq!(read_cut(&limits, &with(257), &[]), ["431 the head has too many fields"]);
}

/// Conversations that go through all states.
fn conversations() -> Vec<Vec<u8>> {
    vec![
        [post("Content-Length: 5", "hello"), line("GET /a?b HTTP/1.1"), post("Content-Length: 0", "")]
            .concat(),
        [
            b"\r\n".to_vec(),
            chunks("3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"),
            b"\r\n".to_vec(),
            line("GET / HTTP/1.1"),
        ]
        .concat(),
        [post("Expect: 100-continue\r\nContent-Length: 1", "x"), b"\x16\x03".to_vec()].concat(),
    ]
}

#[test]
fn no_cut_changes_what_is_read() {
    for input in conversations() {
        let whole = read(&input);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let cut = read_cut(&Limits::default(), &input, &[first, second]);
                assert_eq!(cut, whole, "{} cut at {first} and {second}", input.escape_ascii());
            }
        }
    }
}

#[test]
fn no_cut_changes_a_refusal() {
    let limits = Limits { head: 64, fields: 3, ..Limits::default() };
    let long = [
        line(&format!("GET /{} HTTP/1.1", "a".repeat(60))),
        post(&format!("X: {}", "a".repeat(60)), ""),
        chunks(&format!("0\r\nX: {}\r\n\r\n", "a".repeat(70))),
    ];
    let cases = refused().into_iter().map(|row| (Limits::default(), row.1));
    for (limits, input) in cases.chain(long.map(|input| (limits, input))) {
        let whole = read_cut(&limits, &input, &[]);
        for cut in 0..=input.len() {
            assert_eq!(read_cut(&limits, &input, &[cut]), whole, "{} cut at {cut}", input.escape_ascii());
        }
        let every: Vec<usize> = (0..input.len()).collect();
        assert_eq!(read_cut(&limits, &input, &every), whole, "{} byte by byte", input.escape_ascii());
    }
}

/// Sound messages and rubbish, spliced.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<Vec<u8>> =
        conversations().into_iter().chain(refused().into_iter().map(|row| row.1)).collect();
    let word = prop_oneof![
        8 => prop::sample::select(words).prop_flat_map(|word| (0..=word.len()).prop_map(move |end| word[..end].to_vec())),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::sample::select(vec![&b"\r\n"[..], b"\n", b"\r", b" ", b":", b"0\r\n\r\n", b"\0"]).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(word, 0..5).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_input_is_read_the_same_however_it_is_cut(input in soup(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let limits = Limits { head: 200, fields: 4, request: 100, ..Limits::default() };
        prop_assert_eq!(read_cut(&limits, &input, &cuts), read_cut(&limits, &input, &[]));
    }

    #[test]
    fn what_was_read_of_a_body_is_what_was_sent(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)) {
        let body = pieces.concat();
        let sent: Vec<u8> = pieces.iter().flat_map(|piece| [format!("{:X}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).collect();
        let input = [chunks(""), sent, b"0\r\n\r\n".to_vec()].concat();
        let expected = [format!("POST /mcp of \"a\", {:?}", Framing::Chunked), format!("body {}", body.escape_ascii())];
        prop_assert_eq!(read(&input), expected);
    }
}
