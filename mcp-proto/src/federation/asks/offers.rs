//! What a client can be asked, as its capabilities have it.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The capabilities that let a server ask something.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Offers<'a> {
    #[serde(borrow, default)]
    elicitation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sampling: Option<&'a RawValue>,
    #[serde(default)]
    roots: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Elicitation {
    form: Option<IgnoredAny>,
    url: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Sampling {
    tools: Option<IgnoredAny>,
}

/// What is read of the parameters of a question.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    pub(super) elicitation_id: Option<IgnoredAny>,
    #[serde(default)]
    tools: Option<IgnoredAny>,
    #[serde(default)]
    tool_choice: Option<IgnoredAny>,
}

impl Asked {
    pub(super) fn parse(params: Option<&[u8]>) -> Self {
        params.and_then(|params| serde_json::from_slice(params).ok()).unwrap_or_default()
    }

    pub(super) fn is_url(&self) -> bool {
        self.mode.as_deref() == Some("url")
    }
}

impl<'a> Offers<'a> {
    pub(crate) fn parse(capabilities: &'a [u8]) -> Self {
        serde_json::from_slice(capabilities).unwrap_or_default()
    }

    /// The capability that a question takes and the client has not.
    pub(crate) fn missing(&self, method: &str, params: Option<&[u8]>) -> Option<&'static str> {
        let asked = Asked::parse(params);
        let sub = |raw: &RawValue| serde_json::from_str::<Elicitation>(raw.get()).unwrap_or_default();
        match method {
            "elicitation/create" => match (self.elicitation.map(sub), asked.is_url()) {
                (None, _) => Some("elicitation"),
                (Some(modes), true) => modes.url.is_none().then_some("elicitation.url"),
                // A client that names no mode has forms (client/elicitation, Capabilities).
                (Some(modes), false) => {
                    (modes.form.is_none() && modes.url.is_some()).then_some("elicitation.form")
                }
            },
            "sampling/createMessage" => {
                let uses_tools = asked.tools.is_some() || asked.tool_choice.is_some();
                match self.sampling {
                    None => Some("sampling"),
                    Some(raw) if uses_tools => {
                        let sampling = serde_json::from_str::<Sampling>(raw.get()).unwrap_or_default();
                        sampling.tools.is_none().then_some("sampling.tools")
                    }
                    Some(_) => None,
                }
            }
            "roots/list" => self.roots.is_none().then_some("roots"),
            _ => Some("a capability that is not known"),
        }
    }
}

/// Whether a request may be answered with a question (2026-07-28, basic/patterns/mrtr, Supported Requests).
pub(crate) fn may_ask_back(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_takes_its_capability() {
        let form = Some(&b"{\"message\":\"m\"}"[..]);
        let url = Some(&b"{\"mode\":\"url\"}"[..]);
        let tools = Some(&b"{\"tools\":[]}"[..]);
        for (capabilities, method, params, missing) in [
            ("{}", "elicitation/create", form, Some("elicitation")),
            ("", "elicitation/create", form, Some("elicitation")),
            ("{\"elicitation\":{}}", "elicitation/create", form, None),
            ("{\"elicitation\":{}}", "elicitation/create", url, Some("elicitation.url")),
            ("{\"elicitation\":{\"form\":{}}}", "elicitation/create", form, None),
            ("{\"elicitation\":{\"form\":{}}}", "elicitation/create", url, Some("elicitation.url")),
            ("{\"elicitation\":{\"url\":{}}}", "elicitation/create", form, Some("elicitation.form")),
            ("{\"elicitation\":{\"url\":{}}}", "elicitation/create", url, None),
            ("{\"elicitation\":{}}", "sampling/createMessage", form, Some("sampling")),
            ("{\"sampling\":{}}", "sampling/createMessage", form, None),
            ("{\"sampling\":{}}", "sampling/createMessage", tools, Some("sampling.tools")),
            ("{\"sampling\":{\"tools\":{}}}", "sampling/createMessage", tools, None),
            ("{\"sampling\":{}}", "roots/list", None, Some("roots")),
            ("{\"roots\":{}}", "roots/list", None, None),
            ("{\"roots\":{}}", "tasks/get", None, Some("a capability that is not known")),
        ] {
            let offers = Offers::parse(capabilities.as_bytes());
            assert_eq!(offers.missing(method, params), missing, "{method} of {capabilities}");
        }
    }
}
