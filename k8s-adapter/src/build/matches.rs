//! Conditions of an HTTPRoute on requests.

use super::targets::is_path;
use crate::objects::{HttpMatch, HttpPathMatch, HttpValueMatch};
use routing::{Match, PathMatch, Pattern, ValueMatch};

/// The condition that `wanted` states.
///
/// # Errors
/// What of it is not supported.
pub(super) fn condition(wanted: &HttpMatch) -> Result<Match, String> {
    let lower = |name: &str| name.to_ascii_lowercase();
    Ok(Match {
        path: path(wanted.path.as_ref())?,
        method: wanted.method.clone().filter(|method| !method.is_empty()),
        headers: values(&wanted.headers, "header", lower)?,
        query: values(&wanted.query_params, "query parameter", str::to_owned)?,
    })
}

fn path(wanted: Option<&HttpPathMatch>) -> Result<PathMatch, String> {
    let kind = wanted.and_then(|path| path.kind.as_deref()).unwrap_or("PathPrefix");
    let value = wanted.and_then(|path| path.value.as_deref()).unwrap_or("/").to_owned();
    match kind {
        "Exact" | "PathPrefix" if !is_path(&value) => Err(format!("{value:?} is no path")),
        "Exact" => Ok(PathMatch::Exact(value)),
        "PathPrefix" => Ok(PathMatch::Prefix(value)),
        "RegularExpression" => pattern(&value).map(PathMatch::Regex),
        other => Err(format!("path matches of type {other:?} are not supported")),
    }
}

fn values(
    wanted: &[HttpValueMatch],
    what: &str,
    name: impl Fn(&str) -> String,
) -> Result<Vec<(String, ValueMatch)>, String> {
    let mut values: Vec<(String, ValueMatch)> = Vec::new();
    for one in wanted {
        let name = name(&one.name);
        // Of several for one name the first counts.
        if values.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let value = match one.kind.as_deref().unwrap_or("Exact") {
            "Exact" => ValueMatch::Exact(one.value.clone()),
            "RegularExpression" => ValueMatch::Regex(pattern(&one.value)?),
            other => return Err(format!("{what} matches of type {other:?} are not supported")),
        };
        values.push((name, value));
    }
    Ok(values)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    // What the engine says is a drawing over several lines; the last says what is wrong.
    let last = |error: String| error.lines().last().unwrap_or_default().trim().to_owned();
    Pattern::new(text).map_err(|error| format!("{text:?} is no pattern: {}", last(error)))
}

/// A text that is the same for conditions that hold for the same requests because they say the same.
pub(super) fn canonical(host: &routing::HostMatch, on: &Match) -> String {
    let sorted = |values: &[(String, ValueMatch)]| {
        let mut values: Vec<_> = values.iter().map(|(name, value)| format!("{name:?}={value:?}")).collect();
        values.sort();
        values
    };
    let path = match &on.path {
        PathMatch::Prefix(prefix) => PathMatch::Prefix(format!("{}/", prefix.trim_end_matches('/'))),
        other => other.clone(),
    };
    format!("{host} {path:?} {:?} {:?} {:?}", on.method, sorted(&on.headers), sorted(&on.query))
}
