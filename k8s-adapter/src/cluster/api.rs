//! Requests to the API server, and what can become of them.

use super::Timing;
use super::wire::Lines;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::core::request;
use serde::Deserialize;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::Duration;
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

/// The most that is read of an answer in one piece. A page of fifty objects of the 1.5 MiB that etcd takes fits.
const LARGEST_ANSWER: usize = 128 << 20;
/// The most that is read of an answer that only says why not.
const LARGEST_REFUSAL: usize = 64 << 10;

/// A request, or why there can't be such a request.
pub(super) type Asked = Result<Request<Vec<u8>>, request::Error>;

/// Access to the API server.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    patience: Duration,
}

impl fmt::Debug for Api {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the client there is nothing to show that is not secret.
        out.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Why there is no answer, or none that helps.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or none that lasted until the answer.
    Unreachable(String),
    /// The server refuses.
    Refused(Refusal),
    /// Nothing came for this long.
    Silent(Duration),
    /// The answer stopped in the middle.
    Cut(String),
    /// What came is nothing that a Kubernetes API server says.
    Broken(String),
}

/// What the server says when it refuses.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// HTTP status, or the code of a `Status` that came as an event.
    pub(super) code: u16,
    /// What the server says.
    pub(super) message: String,
    /// When it is worth asking again.
    pub(super) retry_after: Option<Duration>,
}

impl Api {
    pub(super) fn new(client: Client, timing: &Timing) -> Self {
        Self { client, patience: timing.request }
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn call(&self, request: Asked) -> Result<Vec<u8>, Failure> {
        let answer = async { collect(self.send(request).await?.into_body(), LARGEST_ANSWER).await };
        timeout(self.patience, answer).await.unwrap_or(Err(Failure::Silent(self.patience)))
    }

    /// Asks, and hands on the beginning of an answer that comes line by line. Kubernetes 1.37 compresses watches if it may, each
    /// event by itself; this client does not say that it may.
    pub(super) async fn open(&self, request: Asked) -> Result<Lines, Failure> {
        Ok(Lines::new(self.send(request).await?.into_body()))
    }

    async fn send(&self, request: Asked) -> Result<Response<Body>, Failure> {
        let request = request.map_err(|error| Failure::Broken(error.to_string()))?;
        let response = quietly(self.client.send(request.map(Body::from))).await;
        let response = response.map_err(|error| Failure::Unreachable(causes(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = collect(response.into_body(), LARGEST_REFUSAL).await.unwrap_or_default();
        let mut refusal = Refusal::read(&body);
        refusal.code = code;
        refusal.retry_after = retry_after.map(Duration::from_secs).or(refusal.retry_after);
        Err(Failure::Refused(refusal))
    }
}

async fn collect(mut body: Body, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = quietly(body.frame()).await {
        let Ok(data) = frame.map_err(|error| Failure::Cut(causes(&error)))?.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(Failure::Broken(format!("an answer of more than {most} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// kube logs each failure as an error; what it means is logged here, and once.
pub(super) fn quietly<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    work.with_subscriber(NoSubscriber::default())
}

impl Refusal {
    /// Reads a `Status`. A type that the server does not know is refused in plain text, and so is much of what proxies say.
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Status {
            code: u16,
            message: String,
            details: Option<Details>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Details {
            retry_after_seconds: u64,
        }

        let Ok(status) = serde_json::from_slice::<Status>(body) else {
            let text = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).trim().to_owned();
            return Self { message: text, ..Self::default() };
        };
        let seconds = status.details.map_or(0, |details| details.retry_after_seconds);
        Self {
            code: status.code,
            message: status.message,
            retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        }
    }
}

impl Failure {
    /// The code of a refusal.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// When the server wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(out, "the API server can't be reached: {why}"),
            Self::Refused(Refusal { code, message, .. }) if message.is_empty() => {
                write!(out, "the API server refuses with {code}")
            }
            Self::Refused(Refusal { code, message, .. }) => {
                write!(out, "the API server refuses with {code}: {message}")
            }
            Self::Silent(time) => write!(out, "the API server says nothing for {time:?}"),
            Self::Cut(how) => write!(out, "the connection to the API server broke: {how}"),
            Self::Broken(what) => write!(out, "not an answer of an API server: {what}"),
        }
    }
}

/// The error with all its causes, each once: the outer ones tend to repeat what the inner ones say.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            // Writing into a String does not fail.
            let _written = write!(text, ": {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_a_status_and_from_plain_text() {
        let status = br#"{"kind":"Status","code":429,"reason":"TooManyRequests","message":"slow","details":{"retryAfterSeconds":3}}"#;
        let refusal = Refusal::read(status);
        assert_eq!((refusal.code, refusal.message.as_str()), (429, "slow"));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(3)));
        let refusal = Refusal::read(b"404 page not found\n");
        assert_eq!((refusal.message.as_str(), refusal.retry_after), ("404 page not found", None));
        // A length in the middle of a character is no reason to stop.
        assert!(Refusal::read("é".repeat(150).as_bytes()).message.starts_with("éé"));
    }
}
