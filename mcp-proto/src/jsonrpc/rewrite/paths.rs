//! Which keys of a message lead to something that is edited.

use super::plan::{Plan, TaskSeal};
use routing::uris;

/// Where the URIs are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scope {
    /// In the result of a tool, a prompt, or of reading a resource.
    Result,
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
pub(super) struct Node {
    members: &'static [(&'static [u8], Step)],
    /// Where any other key leads.
    others: Step,
}

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
    Task,
    /// Looked at, but left as it is.
    ResultType,
    /// A number.
    Code,
}

/// What a message about a task carries in `_meta` (2025-11-25, basic/utilities/tasks).
const RELATED_TASK: &[u8] = b"io.modelcontextprotocol/related-task";
const TASK_ID: (&[u8], Step) = (b"taskId", Step::Edit(Edit::Task));

pub(super) static NOTHING: Node = Node::new(&[]);
static URI: Node = Node::new(&[(b"uri", Step::Edit(Edit::Uri))]);
static CONTENT: Node = Node::new(&[(b"uri", Step::Edit(Edit::Uri)), (b"resource", Step::Into(&URI))]);
static MESSAGE: Node = Node::new(&[(b"content", Step::Into(&CONTENT))]);
static MESSAGES: Node = Node::new(&[(b"messages", Step::Into(&MESSAGE))]);
static ASKED: Node = Node::new(&[(b"params", Step::Into(&MESSAGES))]);
static QUESTIONS: Node = Node { members: &[], others: Step::Into(&ASKED) };
static TASK: Node = Node::new(&[TASK_ID]);
static META: Node = Node::new(&[(RELATED_TASK, Step::Into(&TASK))]);

const CONTENT_OF: (&[u8], Step) = (b"content", Step::Into(&CONTENT));
const CONTENTS_OF: (&[u8], Step) = (b"contents", Step::Into(&URI));
const MESSAGES_OF: (&[u8], Step) = (b"messages", Step::Into(&MESSAGE));
const QUESTIONS_OF: (&[u8], Step) = (b"inputRequests", Step::Into(&QUESTIONS));
const META_OF: (&[u8], Step) = (b"_meta", Step::Into(&META));

static RESULT: Node = Node::new(&[CONTENT_OF, CONTENTS_OF, MESSAGES_OF, QUESTIONS_OF]);
/// A result that may be a task, a list of them, or (the tasks extension) a task that holds its result.
static TASK_RESULT: Node = Node::new(&[
    CONTENT_OF,
    CONTENTS_OF,
    MESSAGES_OF,
    QUESTIONS_OF,
    META_OF,
    TASK_ID,
    (b"task", Step::Into(&TASK)),
    (b"tasks", Step::Into(&TASK)),
    (b"result", Step::Into(&TASK_RESULT)),
]);

/// A message whose parameters or result matter: without tasks, and with them.
type Message = (Node, Node);

static IN_RESULT: Message =
    (Node::new(&[(b"result", Step::Into(&RESULT))]), Node::new(&[(b"result", Step::Into(&TASK_RESULT))]));
static IN_SAMPLING: Message = (
    Node::new(&[(b"params", Step::Into(&MESSAGES))]),
    Node::new(&[(b"params", Step::Into(&Node::new(&[MESSAGES_OF, META_OF])))]),
);
static IN_TASK: Message =
    (Node::new(&[(b"params", Step::Into(&RESULT))]), Node::new(&[(b"params", Step::Into(&TASK_RESULT))]));
static IN_ANY: Message = (Node::new(&[]), Node::new(&[(b"params", Step::Into(&Node::new(&[META_OF])))]));

impl Node {
    const fn new(members: &'static [(&'static [u8], Step)]) -> Self {
        Self { members, others: Step::Off }
    }

    pub(super) fn of(plan: &Plan) -> &'static Self {
        let (plain, tasks) = match plan.scope {
            Scope::Result => &IN_RESULT,
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

    pub(super) fn step(&self, key: &[u8]) -> Step {
        self.members.iter().find(|(name, _)| *name == key).map_or(self.others, |(_, step)| *step)
    }
}

impl Edit {
    /// What `text` becomes; `None` when it stays.
    pub(super) fn apply(self, plan: &Plan, text: &str) -> Option<String> {
        match self {
            Self::Uri => plan.target.as_ref().map(|target| uris::federated(target, text)),
            Self::Task => plan.task.as_deref().map(|task: &TaskSeal| task.seal(text)),
            Self::ResultType | Self::Code => None,
        }
    }
}
