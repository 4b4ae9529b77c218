//! Where an SSE target wants its messages: a reference in its first event, resolved against the stream's own address
//! (RFC 3986, 5.2).

const FOREIGN: &str = "it is at another origin";

/// Path and query of the endpoint that `text` names, on the stream at `path` of `authority`.
///
/// # Errors
/// It is no reference, or leads to another origin: a server that was not configured is not to be talked to.
pub(super) fn resolve(authority: &str, path: &str, text: &[u8]) -> Result<String, &'static str> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
        return Err("it is no address");
    }
    let text = str::from_utf8(text).map_err(|_| "it is no address")?;
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    let rest = match scheme(text) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err(FOREIGN),
        None => text,
    };
    let (path_of, query_of) = parts(path);
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        if host.contains('@') || !origin(host).eq_ignore_ascii_case(origin(authority)) {
            return Err(FOREIGN);
        }
        let (path, query) = parts(rest);
        return Ok(joined(&without_dots(path), query));
    }
    let (path, query) = parts(rest);
    Ok(match path {
        "" => joined(path_of, query.or(query_of)),
        _ if path.starts_with('/') => joined(&without_dots(path), query),
        _ => {
            let folder = path_of.rfind('/').and_then(|at| path_of.get(..=at)).unwrap_or("/");
            joined(&without_dots(&format!("{folder}{path}")), query)
        }
    })
}

/// A scheme (RFC 3986, 3.1), and what follows its colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme =
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(legal);
    is_scheme.then_some((scheme, rest))
}

/// An authority without the port that goes without saying.
fn origin(authority: &str) -> &str {
    authority.strip_suffix(":80").or_else(|| authority.strip_suffix(':')).unwrap_or(authority)
}

fn parts(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

fn joined(path: &str, query: Option<&str>) -> String {
    let path = if path.is_empty() { "/" } else { path };
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// RFC 3986, 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    segments.next_if_eq(&"");
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_reference_leads_to_its_place() {
        for (text, expected) in [
            ("/messages?sessionId=1", "/messages?sessionId=1"),
            ("messages?sessionId=1", "/a/messages?sessionId=1"),
            ("./messages/", "/a/messages/"),
            ("../messages", "/messages"),
            ("../../../messages/x/..", "/messages/"),
            ("b:c", ""),
            ("./b:c", "/a/b:c"),
            ("?sessionId=1", "/a/sse?sessionId=1"),
            ("#top", "/a/sse?key=1"),
            ("http://example.com/messages?x=http://y/", "/messages?x=http://y/"),
            ("HTTP://EXAMPLE.com:80/m", "/m"),
            ("http://example.com", "/"),
            ("http://example.com?x", "/?x"),
            ("//example.com/m#f", "/m"),
            (" /m\r", "/m"),
            ("https://example.com/m", ""),
            ("http://example.com:8080/m", ""),
            ("http://example.org/m", ""),
            ("http://example.com@example.org/m", ""),
            ("http://x@example.com/m", ""),
            ("//example.org/m", ""),
            ("/m n", ""),
            ("/m\u{e9}", ""),
            ("", ""),
        ] {
            let resolved = resolve("example.com", "/a/sse?key=1", text.as_bytes());
            assert_eq!(resolved.as_deref().unwrap_or_default(), expected, "{text}");
        }
        assert_eq!(resolve("[::1]:3001", "/sse", b"http://[::1]:3001/m").as_deref(), Ok("/m"));
        assert_eq!(resolve("localhost:3001", "/sse", b"http://localhost/m"), Err(FOREIGN));
    }
}
