//! `${NAME}` in URLs, header values, programs and session keys: secrets stay out of files.

use super::report::{Entry, Report};

impl Report {
    /// The text of `entry` with every `${NAME}` replaced by that environment variable, `${env:NAME}` likewise, and
    /// `${NAME:-text}` by `text` when there is no such variable.
    pub(super) fn expanded(&mut self, entry: &Entry<'_>) -> Option<String> {
        let text = self.text(entry)?;
        expand(text, self.environment).map_err(|message| self.problem(entry, message)).ok()
    }
}

/// `text` with its variables replaced.
pub(super) fn expand(text: &str, environment: fn(&str) -> Option<String>) -> Result<String, String> {
    let mut rest = text;
    let mut expanded = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, behind) = after.split_once('}').ok_or("\"${\" has no closing \"}\"")?;
        let reference = reference.strip_prefix("env:").unwrap_or(reference);
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let value = environment(name).or_else(|| default.map(str::to_owned));
        expanded.push_str(before);
        expanded.push_str(&value.ok_or_else(|| format!("the environment variable {name:?} is not set"))?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_are_replaced_once() {
        let environment = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "NESTED" => Some("${TOKEN}".to_owned()),
            _ => None,
        };
        for (text, expanded) in [
            ("plain $TOKEN {x}", Ok("plain $TOKEN {x}")),
            ("Bearer ${TOKEN}!", Ok("Bearer s3cret!")),
            ("${env:TOKEN}${TOKEN}", Ok("s3crets3cret")),
            ("${HOST:-localhost}:${TOKEN:-x}", Ok("localhost:s3cret")),
            ("${NESTED}", Ok("${TOKEN}")),
            ("${NOPE}", Err("the environment variable \"NOPE\" is not set")),
            ("${TOKEN", Err("\"${\" has no closing \"}\"")),
        ] {
            assert_eq!(
                expand(text, environment),
                expanded.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
    }
}
