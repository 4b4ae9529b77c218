//! What is written is exactly this, and reads as what was meant.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use bytes::BytesMut;
use mcp_proto::Limits;
use mcp_proto::http::{ClientCodec, Framing, Method, RequestEvent, ResponseEvent, ServerCodec, write};
use proptest::prelude::*;

fn written(what: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"|".to_vec();
    what(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn heads_are_written_to_the_byte() {
    let answer = written(|out| {
        write::status(out, 200);
        write::field(out, "Content-Type", b"text/event-stream");
        write::chunked(out);
        write::end(out);
    });
    assert_eq!(
        answer,
        "|HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let request = written(|out| {
        write::request(out, Method::Post, "/mcp?a=b");
        write::length(out, 10_204);
        write::end(out);
    });
    assert_eq!(request, "|POST /mcp?a=b HTTP/1.1\r\ncontent-length: 10204\r\n\r\n");
    assert_eq!(written(|out| write::status(out, 299)), "|HTTP/1.1 299 \r\n");
    assert_eq!(written(|out| write::length(out, 0)), "|content-length: 0\r\n");
    assert_eq!(written(|out| write::length(out, u64::MAX)), "|content-length: 18446744073709551615\r\n");
}

#[test]
fn chunks_are_written_to_the_byte() {
    let heads = [1, 9, 10, 16, 255, 65_536, usize::MAX].map(|n| written(|out| write::chunk_head(out, n)));
    assert_eq!(
        heads,
        ["|1\r\n", "|9\r\n", "|a\r\n", "|10\r\n", "|ff\r\n", "|10000\r\n", "|ffffffffffffffff\r\n"]
    );
    assert_eq!(written(|out| write::chunk_head(out, 0)), "|", "an empty chunk would end the body");
    assert_eq!([write::CHUNK_END, write::LAST_CHUNK], [&b"\r\n"[..], b"0\r\n\r\n"]);
    assert_eq!(write::CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn nothing_passed_in_ends_a_line() {
    assert_eq!(
        written(|out| write::field(out, "X", b"a\r\nSet-Cookie: b\0\x7f\x01\tc")),
        "|X: aSet-Cookie: b\tc\r\n"
    );
    assert_eq!(written(|out| write::field(out, "X\r\n: Y", b"a")), "|XY: a\r\n");
    assert_eq!(
        written(|out| write::request(out, Method::Get, "/a b\r\nX: \0\u{e9}#c")),
        "|GET /abX:c HTTP/1.1\r\n"
    );
}

/// Names that don't steer the codecs, and values without blanks around them.
fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7fu8, 0x80..=0xffu8], 0..20);
    let value = value.prop_map(|value| value.trim_ascii().to_vec());
    prop::collection::vec(("x-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,12}", value), 0..8)
}

fn write_body(out: &mut Vec<u8>, pieces: &[Vec<u8>], chunked: bool) {
    if chunked {
        write::chunked(out);
    } else {
        write::length(out, pieces.concat().len() as u64);
    }
    write::end(out);
    for piece in pieces {
        if chunked && !piece.is_empty() {
            write::chunk_head(out, piece.len());
            out.extend_from_slice(piece);
            out.extend_from_slice(write::CHUNK_END);
        } else {
            out.extend_from_slice(piece);
        }
    }
    if chunked {
        out.extend_from_slice(write::LAST_CHUNK);
    }
}

fn same<'f>(read: impl Iterator<Item = (&'f str, &'f [u8])>, fields: &'f [(String, Vec<u8>)]) -> bool {
    read.filter(|(name, _)| name.starts_with("x-"))
        .eq(fields.iter().map(|(name, value)| (&name[..], &value[..])))
}

proptest! {
    #[test]
    fn a_request_reads_as_it_was_written(
        path in "/[!-\"$&->@-~]{0,20}", query in prop::option::of("[!-\"$-~]{0,20}"), fields in fields(),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), chunked in any::<bool>(),
    ) {
        let mut out = Vec::new();
        let target = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        write::request(&mut out, Method::Put, &target);
        write::field(&mut out, "host", b"a:80");
        fields.iter().for_each(|(name, value)| write::field(&mut out, name, value));
        write_body(&mut out, &pieces, chunked);

        let mut codec = ServerCodec::new(&Limits::default());
        codec.feed(BytesMut::from(&out[..]));
        let Ok(Some(RequestEvent::Head(head))) = codec.next() else { panic!("no head") };
        prop_assert_eq!((head.method, head.path(), head.query(), head.authority()), (Method::Put, &path[..], query.as_deref(), "a:80"));
        prop_assert!(same(head.fields.iter(), &fields) && same(head.fields.end_to_end(), &fields));
        let mut body = Vec::new();
        while let Some(RequestEvent::Body(piece)) = codec.next().unwrap() {
            body.extend_from_slice(&piece);
        }
        prop_assert_eq!(body, pieces.concat());
        codec.proceed();
        prop_assert!(codec.is_idle());
    }

    #[test]
    fn an_answer_reads_as_it_was_written(
        status in (200..600u16).prop_filter("has a body", |status| ![204, 304].contains(status)), fields in fields(),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), chunked in any::<bool>(),
    ) {
        let mut out = write::CONTINUE.to_vec();
        write::status(&mut out, status);
        fields.iter().for_each(|(name, value)| write::field(&mut out, name, value));
        write_body(&mut out, &pieces, chunked);

        let mut codec = ClientCodec::new(&Limits::default());
        codec.expect(Method::Post);
        codec.feed(BytesMut::from(&out[..]));
        let Ok(Some(ResponseEvent::Head(head))) = codec.next() else { panic!("no head") };
        let framing = if chunked { Framing::Chunked } else { Framing::Length(pieces.concat().len() as u64) };
        prop_assert_eq!((head.status, head.framing, head.keep_alive), (status, framing, true));
        prop_assert!(same(head.fields.iter(), &fields) && same(head.fields.end_to_end(), &fields));
        let mut body = Vec::new();
        while let Some(ResponseEvent::Body(piece)) = codec.next().unwrap() {
            body.extend_from_slice(&piece);
        }
        prop_assert_eq!(body, pieces.concat());
        prop_assert!(codec.is_idle());
    }
}
