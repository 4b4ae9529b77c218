//! A server that tells the time, and one call that takes some.

use super::{Answer, Message, Offer};
use crate::access_log::now;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest wait, in seconds.
const LONGEST: u64 = 60;

pub(super) struct Clock;

impl Offer for Clock {
    fn capabilities(&self) -> Value {
        json!({"tools": {}})
    }

    fn answer(&self, method: &str, params: &Value) -> Answer {
        match method {
            "tools/list" => Answer::Result(json!({"tools": [
                {
                    "name": "now",
                    "description": "The time in UTC",
                    "inputSchema": {"type": "object"},
                    "annotations": {"readOnlyHint": true},
                },
                {
                    "name": "wait",
                    "description": "Waits some seconds and reports progress meanwhile",
                    "inputSchema": {
                        "type": "object",
                        "properties": {"seconds": {"type": "integer", "minimum": 0, "maximum": LONGEST}},
                        "required": ["seconds"],
                    },
                },
            ]})),
            "tools/call" => match params.get("name").and_then(Value::as_str).unwrap_or_default() {
                "now" => Answer::tool(now()),
                "wait" => wait(params),
                other => Answer::invalid(format!("Unknown tool: {other}")),
            },
            _ => Answer::unknown_method(method),
        }
    }
}

fn wait(params: &Value) -> Answer {
    let seconds = params.pointer("/arguments/seconds").and_then(Value::as_u64);
    let Some(seconds) = seconds.filter(|seconds| *seconds <= LONGEST) else {
        return Answer::tool_error(&format!("seconds must be a whole number from 0 to {LONGEST}"));
    };
    let token = params.pointer("/_meta/progressToken").cloned();
    let ticks = stream::iter(1..=seconds).filter_map(move |second| {
        let token = token.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some(Message::Notification(json!({
                "jsonrpc": "2.0",
                "method": "notifications/progress",
                // Progress goes to who asked for it only.
                "params": {"progressToken": token?, "progress": second, "total": seconds},
            })))
        }
    });
    let text = format!("waited {seconds} s");
    let result = Message::Result(json!({"content": [{"type": "text", "text": text}]}));
    Answer::Stream(ticks.chain(stream::iter([result])).boxed())
}
