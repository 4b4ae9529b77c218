//! Payloads of request smuggling, and of plain disorder, by the section that forbids them.

use super::{chunks, line, post};

/// What is refused: section, input, status, reason.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    const BOTH: &str = "Content-Length and Transfer-Encoding exclude each other";
    const TWICE: &str = "Content-Length is repeated";
    const NUMBER: &str = "Content-Length is not a number";
    const UNKNOWN: &str = "unknown Transfer-Encoding";
    const CODING: &str = "Transfer-Encoding is malformed";
    const LF: &str = "a line ends without CR";
    const NAME: &str = "a field name is malformed";
    const VALUE: &str = "a field value is malformed";
    const SIZE: &str = "a chunk size is malformed";
    const EXTENSION: &str = "a chunk extension is malformed";
    const CHUNK: &str = "a chunk does not end in CRLF";
    const TRAILER: &str = "a trailer is malformed";
    const HOST: &str = "Host is malformed";
    const LINE: &str = "the first line is malformed";
    const BYTE: &str = "a byte in the request target is out of place";
    const FORM: &str = "the request target has no form of HTTP";
    const ESCAPE: &str = "an escape in the path is malformed";
    const VERSION: &str = "HTTP/1.0 and HTTP/1.1 only";
    const METHOD: &str = "unknown method";
    const START: &str = "no request begins like this";
    const NAMES: &str = "Connection names a field that is not its own";
    let mut rows: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("9112 6.1", post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400, BOTH),
        ("9112 6.1", post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), 400, BOTH),
        ("9112 6.1", post("Transfer-Encoding: gzip\r\nContent-Length: 5", "12345"), 400, BOTH),
        ("9112 6.3", post("Content-Length: 5\r\nContent-Length: 6", "12345"), 400, TWICE),
        ("9112 6.3", post("Content-Length: 5\r\ncontent-length: 5", "12345"), 400, TWICE),
        (
            "9112 6.1",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ""),
            400,
            "Transfer-Encoding is repeated",
        ),
        (
            "9112 6.1",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", ""),
            400,
            "Transfer-Encoding is repeated",
        ),
        (
            "9112 6.1",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            400,
            "HTTP/1.0 has no Transfer-Encoding",
        ),
        (
            "1945 8.3",
            b"POST / HTTP/1.0\r\n\r\nbody".to_vec(),
            400,
            "an HTTP/1.0 request with a body needs a Content-Length",
        ),
        // Line ends (9112 2.2).
        ("9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), 400, LF),
        ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), 400, LF),
        ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), 400, LF),
        ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\n\n".to_vec(), 400, LF),
        ("9112 2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n".to_vec(), 400, "a line has no proper end"),
        ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n".to_vec(), 400, VALUE),
        ("9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n".to_vec(), 400, VALUE),
        ("9112 2.2", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, START),
        ("9112 2.2", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, START),
        ("9112 2.2", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, START),
        ("9112 2.2", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, START),
        ("9112 2.2", b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, START),
        // Field lines (9112 5.1, 5.2; 9110 5.1, 5.5).
        ("9112 5.2", post("X: a\r\n b", ""), 400, NAME),
        ("9112 5.2", post("X: a\r\n\tContent-Length: 5", ""), 400, NAME),
        ("9112 2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), 400, NAME),
        ("9110 5.1", [&post("X\u{85}: b", "")[..]].concat(), 400, NAME),
        ("9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\xa0: 5\r\n\r\n".to_vec(), 400, NAME),
        ("9110 5.1", b"GET / HTTP/1.1\r\nHost: a\r\n\xa0Content-Length: 5\r\n\r\n".to_vec(), 400, NAME),
        // Host (9112 3.2).
        ("9112 3.2", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, "Host is missing"),
        ("9112 3.2.2", b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), 400, "Host is missing"),
        ("9112 3.2", post("Host: a", ""), 400, "Host is repeated"),
        ("9112 3.2", post("hOsT: b", ""), 400, "Host is repeated"),
        ("9112 3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".to_vec(), 400, "Host is repeated"),
        // Methods and versions.
        ("9110 9.3.6", line("CONNECT a:443 HTTP/1.1"), 405, "this is not a tunnel"),
        ("9110 9.1", line(&format!("{} / HTTP/1.1", "X".repeat(33))), 501, METHOD),
        ("9110 15.6.6", line("GET / HTTP/1.2"), 505, VERSION),
        ("9110 15.6.6", line("GET / HTTP/0.9"), 505, VERSION),
        ("9110 15.6.6", line("GET / HTTP/2.0"), 505, VERSION),
        ("9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, VERSION),
        ("8446 5.1", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), 505, "TLS on a port without TLS"),
        ("9112 2.3", line("GET / HTTP/1.10"), 400, "a line has no proper end"),
        ("9112 2.3", line("GET / HTTP/11"), 400, LINE),
        ("9112 2.3", line("GET / http/1.1"), 400, LINE),
        ("9112 2.3", line("GET / HTTPS/1.1"), 400, LINE),
        ("9112 2.3", line("GET / "), 400, LINE),
        ("9112 3", line("GET /"), 400, LINE),
        ("9112 3", line("GET  / HTTP/1.1"), 400, LINE),
        ("9112 3", line("GET /  HTTP/1.1"), 400, LINE),
        ("9112 3", line("GET\t/ HTTP/1.1"), 400, LINE),
        ("9112 3", line("GET / HTTP/1.1 "), 400, "a line has no proper end"),
        ("9112 3", line("GET / x HTTP/1.1"), 400, LINE),
        ("9112 3", line("GE(T / HTTP/1.1"), 400, LINE),
        // Expectations (9110 10.1.1).
        ("9110 10.1.1", post("Expect: 200-ok", ""), 417, "no expectation but 100-continue can be met"),
        (
            "9110 10.1.1",
            post("Expect: 100-continue, x", ""),
            417,
            "no expectation but 100-continue can be met",
        ),
        ("9110 10.1.1", post("Expect: ", ""), 417, "no expectation but 100-continue can be met"),
        // Size.
        ("9110 15.5.14", post("Content-Length: 4194305", ""), 413, "the body is too large"),
        ("9110 15.5.14", chunks("400001\r\n"), 413, "the body is too large"),
        ("9110 15.5.14", chunks("ffffffffffffffff\r\n"), 413, "the body is too large"),
        ("9110 15.5.14", chunks("1\r\na\r\nffffffffffffffff\r\n"), 413, "the body is too large"),
    ];
    let mut push = |section, inputs: &[&str], make: &dyn Fn(&str) -> Vec<u8>, status, reason| {
        rows.extend(inputs.iter().map(|input| (section, make(input), status, reason)));
    };
    let field = |value: &str, name: &str| post(&format!("{name}: {value}"), "12345");
    let lengths = [
        "",
        "+5",
        "-1",
        "0x5",
        "1_0",
        "5 5",
        "5, 5",
        "5,",
        "5;",
        "5.0",
        "5a",
        "\u{665}",
        "1e1",
        "10000000000000000000",
    ];
    push("9110 8.6", &lengths, &|value| field(value, "Content-Length"), 400, NUMBER);
    let unknown =
        ["identity", "gzip", "gzip, chunked", "xchunked", "'chunked", "chunkedx", "gzip;q=1", "x, y"];
    push("9112 6.1", &unknown, &|value| field(value, "Transfer-Encoding"), 501, UNKNOWN);
    let malformed = [
        "",
        ",",
        ",chunked",
        "chunked,",
        "chunked, chunked",
        "chunked;q=1",
        "chunked ;q=1",
        "chunked, gzip",
        "chunked, identity",
        "\"chunked\"",
        "chunked chunked",
        "gzip,,chunked",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "[chunked]",
        ";chunked",
    ];
    push("9112 6.1", &malformed, &|value| field(value, "Transfer-Encoding"), 400, CODING);
    let control = ["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f", "a\0b", "a\x7f"];
    push("9110 5.5", &control, &|value| field(value, "X"), 400, VALUE);
    push(
        "9112 6.1",
        &["\x0bchunked", "chunked\x0b", "chunked\0"],
        &|value| field(value, "Transfer-Encoding"),
        400,
        VALUE,
    );
    let names = [
        "X ",
        "X\t",
        "Content-Length ",
        "",
        "X Y",
        "X(",
        "X\"",
        "X/",
        "X\0",
        "X@",
        "X\x7f",
        "X[",
        "X{",
        "X\u{e9}",
    ];
    push("9112 5.1", &names, &|name| field("5", name), 400, NAME);
    push("9112 5", &["X", "Content-Length", "X;5"], &|line| post(line, ""), 400, NAME);
    let sizes = [
        "\r\n",
        " 5\r\n",
        "\t5\r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "5_0\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5 ;a\r\n",
        "g\r\n",
        ";a\r\n",
        "\n",
        "5\n",
        "5,5\r\n",
        "00000000000000005\r\n",
        "fffffffffffffffff\r\n",
        "\u{665}\r\n",
        "5h\r\n",
        "0 \r\n",
        "\0",
        "5.\r\n",
    ];
    push("9112 7.1", &sizes, &|size| chunks(&format!("{size}hello\r\n0\r\n\r\n")), 400, SIZE);
    let extensions = ["5;a\n", "5;a\0\r\n", "5;a\x7f\r\n", "5;\x0b\r\n", "5;a=\"\x01\"\r\n", "0;a\n"];
    push("9112 7.1.1", &extensions, &|size| chunks(&format!("{size}hello\r\n0\r\n\r\n")), 400, EXTENSION);
    let ends = [
        "5\rxhello\r\n",
        "5\r\rhello\r\n",
        "5;a\rbhello\r\n",
        "5\r\nhello0\r\n",
        "5\r\nhello\n0\r\n",
        "5\r\nhello\rx",
        "5\r\nhelloxx0\r\n",
        "5\r\nhello\r\r\n",
        "0\rx",
        "0\r\r\n",
    ];
    push("9112 7.1", &ends, &chunks, 400, CHUNK);
    let trailers = [
        "xx\r\n",
        "\n",
        " X: a\r\n",
        "X : a\r\n",
        "X: a\n",
        "X: a\r\n b\r\n",
        "X: \0\r\n",
        ": a\r\n",
        "X: a\rb\r\n",
        "\r\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    push("9112 7.1.2", &trailers, &|trailer| chunks(&format!("0\r\n{trailer}\r\n")), 400, TRAILER);
    let hosts = [
        "", "u@a", "u:p@a", "a/", "a/b", "a:b", "a:-1", "a:65536", "a:123456", "a:80:80", "a b", "a,b",
        "a, b", "http://a", "a?b", "a#b", "a%00", "[::1", "::1", "[::1]a", "[::1]:b", "[]", "[g::]", ":80",
        "a\\b", "\u{e9}", "a\tb", "a;b",
    ];
    push(
        "9112 3.2",
        &hosts,
        &|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
        400,
        HOST,
    );
    let get = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    push(
        "9112 3.2.2",
        &["http://", "http:///a", "http://u@a/", "http://a:b/", "https://?", "http://a%2f/"],
        &get,
        400,
        "the authority of the request target is malformed",
    );
    push("9112 3.2", &["*", "a", "a:80", "?", "mcp", "ftp://a/", "ws://a/", "\\", "x//a"], &get, 400, FORM);
    push("9112 3.2", &["/#", "/a#b", "#", "http://a/#", "/\u{e9}"], &get, 400, BYTE);
    push(
        "3986 2.1",
        &["/%", "/%0", "/%zz", "/%00", "/a%00b", "/%2", "/%2g", "/%%20", "/%20%", "http://a/%00"],
        &get,
        400,
        ESCAPE,
    );
    push("9112 3.2", &["/\x01", "/\x7f", "/\0"], &get, 400, LINE);
    let named = ["content-length", "close, Content-Length", "Host", "x,HOST"];
    push("9110 7.6.1", &named, &|value| field(value, "Connection"), 400, NAMES);
    rows
}
