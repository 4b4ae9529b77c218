//! Filters and timeouts of an HTTPRoute's rule.

use super::services::{is_host_name, port_number};
use super::targets::is_path;
use crate::objects::{
    Filter, HeaderModifier, HttpTimeouts, NameValue, PathModifier, RequestRedirect, UrlRewrite,
};
use routing::{HeaderEdits, PathEdit, PathMatch, Redirect, Rewrite};
use std::time::Duration;

/// What the filters of a rule come to, for a match with a certain path.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    pub(super) request: HeaderEdits,
    pub(super) response: HeaderEdits,
    pub(super) rewrite: Rewrite,
    pub(super) redirect: Option<Redirect>,
}

/// What `filters` do to requests that `path` matches.
///
/// # Errors
/// What of them is not supported: then none of it may be done.
pub(super) fn effects(filters: &[Filter], path: &PathMatch) -> Result<Effects, String> {
    let mut effects = Effects::default();
    for filter in filters {
        let missing = || format!("the filter {:?} has no settings", filter.kind);
        match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                edit(&mut effects.request, filter.request_header_modifier.as_ref().ok_or_else(missing)?)?;
            }
            "ResponseHeaderModifier" => {
                edit(&mut effects.response, filter.response_header_modifier.as_ref().ok_or_else(missing)?)?;
            }
            "RequestRedirect" => {
                let redirect = redirect(filter.request_redirect.as_ref().ok_or_else(missing)?, path)?;
                once(effects.redirect.replace(redirect).is_none(), filter)?;
            }
            "URLRewrite" => {
                let rewrite = rewrite(filter.url_rewrite.as_ref().ok_or_else(missing)?, path)?;
                once(std::mem::replace(&mut effects.rewrite, rewrite) == Rewrite::default(), filter)?;
            }
            other => return Err(format!("the filter {other:?} is not supported")),
        }
    }
    match effects.redirect.is_some() && effects.rewrite != Rewrite::default() {
        true => Err("RequestRedirect and URLRewrite exclude each other".to_owned()),
        false => Ok(effects),
    }
}

fn once(first: bool, filter: &Filter) -> Result<(), String> {
    if first { Ok(()) } else { Err(format!("the filter {:?} is there twice", filter.kind)) }
}

fn edit(edits: &mut HeaderEdits, wanted: &HeaderModifier) -> Result<(), String> {
    for NameValue { name, value } in &wanted.set {
        edits.set.push((field_name(name)?, field_value(value)?));
    }
    for NameValue { name, value } in &wanted.add {
        edits.add.push((field_name(name)?, field_value(value)?));
    }
    for name in &wanted.remove {
        edits.remove.push(field_name(name)?);
    }
    Ok(())
}

/// A name that may stand in a head (RFC 9110, 5.1), in lower case.
fn field_name(name: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.bytes().all(token) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(format!("{name:?} is no name of a header field")),
    }
}

/// A value that may stand in a head (RFC 9110, 5.5).
fn field_value(value: &str) -> Result<String, String> {
    match value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
        true => Ok(value.trim_matches([' ', '\t']).to_owned()),
        false => Err(format!("{value:?} is no value of a header field")),
    }
}

fn redirect(wanted: &RequestRedirect, path: &PathMatch) -> Result<Redirect, String> {
    let scheme = match wanted.scheme.as_deref() {
        None | Some("http" | "https") => wanted.scheme.clone(),
        Some(other) => return Err(format!("a redirection to scheme {other:?} is not supported")),
    };
    let status = match wanted.status_code.unwrap_or(302) {
        code @ (301 | 302 | 303 | 307 | 308) => code as u16,
        other => return Err(format!("a redirection with status {other} is not supported")),
    };
    let port = match wanted.port {
        None => None,
        Some(port) => Some(port_number(port).ok_or_else(|| format!("{port} is no port"))?),
    };
    let path = wanted.path.as_ref().map(|edit| path_edit(edit, path)).transpose()?;
    Ok(Redirect { scheme, host: host(wanted.hostname.as_deref())?, port, path, status })
}

fn rewrite(wanted: &UrlRewrite, path: &PathMatch) -> Result<Rewrite, String> {
    let edit = wanted.path.as_ref().map(|edit| path_edit(edit, path)).transpose()?;
    Ok(Rewrite { host: host(wanted.hostname.as_deref())?, path: edit })
}

fn host(wanted: Option<&str>) -> Result<Option<String>, String> {
    match wanted {
        Some(host) if !is_host_name(host) => Err(format!("{host:?} is no host")),
        host => Ok(host.map(str::to_owned)),
    }
}

fn path_edit(wanted: &PathModifier, matched: &PathMatch) -> Result<PathEdit, String> {
    match (wanted.kind.as_str(), matched) {
        ("ReplaceFullPath", _) => {
            let full = wanted.replace_full_path.as_deref().unwrap_or_default();
            new_path(full).map(PathEdit::Full)
        }
        ("ReplacePrefixMatch", PathMatch::Prefix(prefix)) => {
            let by = new_path(wanted.replace_prefix_match.as_deref().unwrap_or_default())?;
            Ok(PathEdit::Prefix { matched: prefix.clone(), by })
        }
        ("ReplacePrefixMatch", _) => Err("ReplacePrefixMatch needs matches of type PathPrefix".to_owned()),
        (other, _) => Err(format!("a path modifier of type {other:?} is not supported")),
    }
}

/// Nothing is the root.
fn new_path(text: &str) -> Result<String, String> {
    match text {
        "" => Ok("/".to_owned()),
        path if is_path(path) && !path.contains('?') => Ok(path.to_owned()),
        other => Err(format!("{other:?} is no path")),
    }
}

/// For the whole request, and for each attempt at a backend; zero is no limit of the route's own.
pub(super) fn timeouts(wanted: Option<&HttpTimeouts>) -> Result<[Option<Duration>; 2], String> {
    let Some(HttpTimeouts { request, backend_request }) = wanted else { return Ok([None, None]) };
    let read = |text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some(text) => match duration(text) {
            Some(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
            None => Err(format!("{text:?} is no duration: it is written like 10s or 1m30s")),
        },
    };
    Ok([read(request)?, read(backend_request)?])
}

/// A duration as Gateway API writes it (GEP-2257): one to four times one to five digits and a unit.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        if digits == 0 || digits > 5 {
            return None;
        }
        let units = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at_checked(units)?;
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        sum += Duration::from_millis(number.parse::<u64>().ok()? * milliseconds);
        rest = after;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, milliseconds) in [
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("1h", Some(3_600_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("30s1m", Some(90_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1d", None),
            ("1us", None),
            ("1s ", None),
            ("1s1s1s1s1s", None),
            ("1é", None),
        ] {
            assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn nothing_that_breaks_a_head_gets_through() {
        for name in ["", "a b", "a:b", "é", "a\r\nb"] {
            assert!(field_name(name).is_err(), "{name:?}");
        }
        for value in ["a\r\nb", "a\0", "\x7f"] {
            assert!(field_value(value).is_err(), "{value:?}");
        }
        assert_eq!(field_value(" a b "), Ok("a b".to_owned()));
        for path in ["a", "/a b", "/a?b", "/\r", "/#"] {
            assert!(new_path(path).is_err(), "{path:?}");
        }
        for name in ["a b", "a:1", "", ".", "a..b"] {
            assert!(host(Some(name)).is_err(), "{name:?}");
        }
    }
}
