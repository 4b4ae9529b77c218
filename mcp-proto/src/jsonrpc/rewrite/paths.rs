//! Which keys of a message lead to something that is edited.

use super::plan::{Plan, TaskSeal};
use routing::{TargetName, names, uris};

/// Where the URIs are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scope {
    /// In the result of a tool, a prompt, or of reading a resource.
    Result,
    /// In `notifications/resources/updated`.
    Updated,
    /// In `notifications/message`: not a URI but the logger's name.
    Log,
    /// In the messages of `sampling/createMessage`.
    Sampling,
    /// In a notice about a task, `notifications/tasks/status` or `notifications/tasks`: as in a result.
    Task,
    /// Nowhere.
    #[default]
    Nothing,
}

/// An object whose members lead to something. Arrays don't count as a step: their elements are where the array is.
#[derive(Debug)]
pub(super) struct Node(&'static [(&'static str, Step)]);

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Into(&'static Node),
    Edit(Edit),
    /// The id of the message, which gets another.
    Id,
    Off,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Edit {
    Uri,
    Logger,
    Task,
    /// Looked at, but left as it is.
    ResultType,
    /// A number.
    Code,
}

/// Any key leads on.
const ANY: &str = "*";
/// What a message about a task carries in `_meta` (2025-11-25, basic/utilities/tasks).
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
const TASK_ID: (&str, Step) = ("taskId", Step::Edit(Edit::Task));

pub(super) static NOTHING: Node = Node(&[]);
static URI: Node = Node(&[("uri", Step::Edit(Edit::Uri))]);
static CONTENT: Node = Node(&[("uri", Step::Edit(Edit::Uri)), ("resource", Step::Into(&URI))]);
static MESSAGE: Node = Node(&[("content", Step::Into(&CONTENT))]);
static MESSAGES: Node = Node(&[("messages", Step::Into(&MESSAGE))]);
static ASKED: Node = Node(&[("params", Step::Into(&MESSAGES))]);
static QUESTIONS: Node = Node(&[(ANY, Step::Into(&ASKED))]);
static TASK: Node = Node(&[TASK_ID]);
static META: Node = Node(&[(RELATED_TASK, Step::Into(&TASK))]);

const CONTENT_OF: (&str, Step) = ("content", Step::Into(&CONTENT));
const CONTENTS_OF: (&str, Step) = ("contents", Step::Into(&URI));
const MESSAGES_OF: (&str, Step) = ("messages", Step::Into(&MESSAGE));
const QUESTIONS_OF: (&str, Step) = ("inputRequests", Step::Into(&QUESTIONS));
const META_OF: (&str, Step) = ("_meta", Step::Into(&META));

static RESULT: Node = Node(&[CONTENT_OF, CONTENTS_OF, MESSAGES_OF, QUESTIONS_OF]);
/// A result that may be a task, a list of them, or (the tasks extension) a task that holds its result.
static TASK_RESULT: Node = Node(&[
    CONTENT_OF,
    CONTENTS_OF,
    MESSAGES_OF,
    QUESTIONS_OF,
    META_OF,
    TASK_ID,
    ("task", Step::Into(&TASK)),
    ("tasks", Step::Into(&TASK)),
    ("result", Step::Into(&TASK_RESULT)),
]);

/// A message whose parameters or result matter: without tasks, and with them.
type Message = (Node, Node);

static IN_RESULT: Message =
    (Node(&[("result", Step::Into(&RESULT))]), Node(&[("result", Step::Into(&TASK_RESULT))]));
static IN_UPDATED: Message = (
    Node(&[("params", Step::Into(&URI))]),
    Node(&[("params", Step::Into(&Node(&[("uri", Step::Edit(Edit::Uri)), META_OF])))]),
);
static IN_LOG: Message = (
    Node(&[("params", Step::Into(&Node(&[("logger", Step::Edit(Edit::Logger))])))]),
    Node(&[("params", Step::Into(&Node(&[("logger", Step::Edit(Edit::Logger)), META_OF])))]),
);
static IN_SAMPLING: Message = (
    Node(&[("params", Step::Into(&MESSAGES))]),
    Node(&[("params", Step::Into(&Node(&[MESSAGES_OF, META_OF])))]),
);
static IN_TASK: Message =
    (Node(&[("params", Step::Into(&RESULT))]), Node(&[("params", Step::Into(&TASK_RESULT))]));
static IN_ANY: Message = (Node(&[]), Node(&[("params", Step::Into(&Node(&[META_OF])))]));

impl Node {
    pub(super) fn of(plan: &Plan) -> &'static Self {
        let (plain, tasks) = match plan.scope {
            Scope::Result => &IN_RESULT,
            Scope::Updated => &IN_UPDATED,
            Scope::Log => &IN_LOG,
            Scope::Sampling => &IN_SAMPLING,
            Scope::Task => &IN_TASK,
            Scope::Nothing => &IN_ANY,
        };
        match (&plan.target, &plan.task) {
            (_, Some(_)) => tasks,
            (Some(_), None) => plain,
            (None, None) => &NOTHING,
        }
    }

    pub(super) fn step(&self, key: &str) -> Step {
        let found = self.0.iter().find(|(name, _)| *name == key || *name == ANY);
        found.map_or(Step::Off, |(_, step)| *step)
    }
}

impl Edit {
    /// What `text` becomes; `None` when it stays.
    pub(super) fn apply(self, plan: &Plan, text: &str) -> Option<String> {
        match self {
            Self::Task => plan.task.as_deref().map(|task: &TaskSeal| task.seal(text)),
            _ => self.named(plan.target.as_ref()?, text),
        }
    }

    fn named(self, target: &TargetName, text: &str) -> Option<String> {
        match self {
            Self::Uri => Some(uris::federated(target, text)),
            Self::Logger => Some(names::logger(target, text)),
            Self::Task | Self::ResultType | Self::Code => None,
        }
    }
}
