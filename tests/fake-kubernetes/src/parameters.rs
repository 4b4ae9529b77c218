//! The query of a request.

use crate::refusal::Refusal;
use crate::select::Selector;

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    NotOlderThan,
}

/// The parameters of all verbs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) selector: Selector,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    /// `sendInitialEvents`.
    pub(crate) initial: Option<bool>,
    pub(crate) matching: Option<Match>,
    pub(crate) resource_version: String,
    pub(crate) timeout: Option<u64>,
    pub(crate) limit: usize,
    pub(crate) token: String,
    pub(crate) manager: String,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
}

impl Parameters {
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let (mut labels, mut fields) = (String::new(), String::new());
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let yes = matches!(&*value, "true" | "1");
            match &*name {
                "labelSelector" => labels = value.into_owned(),
                "fieldSelector" => fields = value.into_owned(),
                "watch" => parameters.watch = yes,
                "allowWatchBookmarks" => parameters.bookmarks = yes,
                "sendInitialEvents" => parameters.initial = Some(yes),
                "resourceVersionMatch" => {
                    parameters.matching = Some(match &*value {
                        "Exact" => Match::Exact,
                        "NotOlderThan" => Match::NotOlderThan,
                        other => return Err(Refusal::new(422, format!("resourceVersionMatch: {other:?}"))),
                    });
                }
                "resourceVersion" => parameters.resource_version = value.into_owned(),
                "timeoutSeconds" => parameters.timeout = value.parse().ok().filter(|seconds| *seconds > 0),
                "limit" => parameters.limit = value.parse().unwrap_or_default(),
                "continue" => parameters.token = value.into_owned(),
                "fieldManager" => parameters.manager = value.into_owned(),
                "force" => parameters.force = yes,
                "dryRun" => parameters.dry_run = true,
                _ => {}
            }
        }
        parameters.selector = Selector::parse(&labels, &fields)?;
        Ok(parameters)
    }

    /// The resource version as a number.
    pub(crate) fn revision(&self) -> Result<Option<u64>, Refusal> {
        let text = &self.resource_version;
        if text.is_empty() {
            return Ok(None);
        }
        let number =
            text.parse().map_err(|_| Refusal::new(400, format!("invalid resource version: {text:?}")))?;
        Ok(Some(number))
    }
}
