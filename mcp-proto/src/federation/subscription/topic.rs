//! The lists whose changes are told.

use crate::jsonrpc::list;
use crate::jsonrpc::params::Filter;

/// A list that can change.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::federation) enum Topic {
    Tools,
    Prompts,
    Resources,
}

impl Topic {
    pub(in crate::federation) const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    pub(in crate::federation) fn of(kind: list::Kind) -> Self {
        match kind {
            list::Kind::Tools => Self::Tools,
            list::Kind::Prompts => Self::Prompts,
            list::Kind::Resources | list::Kind::Templates => Self::Resources,
        }
    }

    pub(super) fn of_notice(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.notice() == method)
    }

    /// The capability that stands for the list.
    pub(super) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }

    pub(in crate::federation) fn notice(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
        }
    }

    pub(super) fn is_in(self, filter: &Filter) -> bool {
        match self {
            Self::Tools => filter.tools,
            Self::Prompts => filter.prompts,
            Self::Resources => filter.resources,
        }
    }
}
