//! The access log: one line for each record of a shard, on standard output unless that is a client's.
//!
//! Shards never wait for it: they put records into a bounded channel, and a thread of its own writes them.

use crate::arguments::LogFormat;
use mcp_proto::Record;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Records that may wait to be written.
const WAITING: usize = 8192;

/// Starts the writer. It ends when the last sender is gone and everything is written.
///
/// # Errors
/// When no thread can be had.
pub(crate) fn start(
    format: LogFormat,
    to: Box<dyn Write + Send>,
) -> std::io::Result<(SyncSender<Box<Record>>, JoinHandle<()>)> {
    let (sender, records) = sync_channel(WAITING);
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write(&records, format, to))?;
    Ok((sender, thread))
}

fn write(records: &Receiver<Box<Record>>, format: LogFormat, mut to: impl Write) {
    let mut block = String::new();
    while let Ok(first) = records.recv() {
        let mut next = Ok(first);
        while let Ok(record) = next {
            push(&mut block, &record, &now(), format);
            next = if block.len() < 64 << 10 { records.try_recv() } else { Err(TryRecvError::Empty) };
        }
        // Nobody reads it any more: go on, the gateway is not its log.
        _ = to.write_all(block.as_bytes()).and_then(|()| to.flush());
        block.clear();
    }
}

/// The time now in RFC 3339, as in the other log.
pub(crate) fn now() -> String {
    let mut text = String::new();
    // Writing to a string doesn't fail.
    _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn push(block: &mut String, record: &Record, time: &str, format: LogFormat) {
    let mut separator = if format == LogFormat::Json { "{" } else { "" };
    for (key, value) in fields(record, time) {
        let Some(value) = value else { continue };
        // Writing to a string doesn't fail.
        _ = match format {
            LogFormat::Json => write!(block, "{separator}\"{key}\":{value}"),
            LogFormat::Text => write!(block, "{separator}{key}={}", bare(&value)),
        };
        separator = if format == LogFormat::Json { "," } else { " " };
    }
    block.push_str(if format == LogFormat::Json { "}\n" } else { "\n" });
}

/// The fields of a line, as JSON. A target's duration runs from sending to it to the first byte of its answer.
fn fields(record: &Record, time: &str) -> [(&'static str, Option<String>); 16] {
    let text = |text: &str| (!text.is_empty()).then(|| serde_json::Value::from(text).to_string());
    let milliseconds = |duration: Duration| format!("{:.3}", duration.as_secs_f64() * 1e3);
    [
        ("time", text(time)),
        ("client", record.client.and_then(|client| text(&client.to_string()))),
        ("http_method", text(&record.http_method)),
        ("route", text(&record.route)),
        ("rule", text(&record.rule)),
        ("backend", text(&record.backend)),
        ("status", Some(record.status.to_string())),
        ("method", text(&record.method)),
        ("target", text(&record.target)),
        ("name", text(&record.name)),
        ("code", record.code.map(|code| code.to_string())),
        ("error", text(&record.error)),
        ("received_bytes", Some(record.received.to_string())),
        ("sent_bytes", Some(record.sent.to_string())),
        ("duration_ms", Some(milliseconds(record.duration))),
        ("target_duration_ms", record.target_duration.map(milliseconds)),
    ]
}

/// A JSON value without its quotes, where nothing in it could be mistaken for the next field.
fn bare(value: &str) -> &str {
    let inner = value.trim_matches('"');
    let plain = inner.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'='));
    if plain { inner } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat) -> String {
        let record = Record {
            client: Some("127.0.0.1:5000".parse().unwrap()),
            http_method: "POST".to_owned(),
            route: "/mcp".to_owned(),
            rule: "team/tools/0".to_owned(),
            backend: String::new(),
            status: 200,
            method: "tools/call".to_owned(),
            target: "clock".to_owned(),
            name: "now\nstatus=500".to_owned(),
            code: Some(-32601),
            error: "no \"such\" tool".to_owned(),
            received: 10,
            sent: 20,
            duration: Duration::from_micros(1500),
            target_duration: None,
        };
        let mut block = String::new();
        push(&mut block, &record, "2026-11-22T08:00:00Z", format);
        block
    }

    #[test]
    fn text_is_one_line_of_keys_and_values() {
        assert_eq!(
            line(LogFormat::Text),
            r#"time=2026-11-22T08:00:00Z client=127.0.0.1:5000 http_method=POST route=/mcp rule=team/tools/0 status=200 method=tools/call "#
                .to_owned()
                + r#"target=clock name="now\nstatus=500" code=-32601 error="no \"such\" tool" received_bytes=10 "#
                + "sent_bytes=20 duration_ms=1.500\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = line(LogFormat::Json);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            object,
            serde_json::json!({
                "time": "2026-11-22T08:00:00Z", "client": "127.0.0.1:5000", "http_method": "POST", "route": "/mcp",
                "rule": "team/tools/0",
                "status": 200, "method": "tools/call", "target": "clock", "name": "now\nstatus=500", "code": -32601,
                "error": "no \"such\" tool", "received_bytes": 10, "sent_bytes": 20, "duration_ms": 1.5
            })
        );
    }
}
