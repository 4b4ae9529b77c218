//! HTTP/1.1: requests become calls on the cluster, its answers bodies or streams.

use crate::cluster::{Caller, Target, Verb};
use crate::discovery;
use crate::kinds::Kind;
use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::server::{Shared, World, now};
use crate::stream::Stream;
use crate::watch::Cursor;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::{SockRef, Socket};
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Bodies that are sent to clients.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The socket under a connection.
#[derive(Debug)]
pub(crate) struct Connection(Socket);

impl Connection {
    /// From now on closing answers whatever comes with a reset.
    pub(crate) fn reset_when_closed(&self) {
        // A socket that is gone already needs no reset.
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(socket) = SockRef::from(&stream.as_fd()).try_clone() else { return };
    let connection = Arc::new(Connection(socket));
    let service = service_fn(move |request| {
        let (shared, connection) = (Arc::clone(&shared), Arc::clone(&connection));
        async move { Ok::<_, Infallible>(respond(request, shared, connection).await) }
    });
    // How a connection ends is the client's business, or a fault's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What is answered.
pub(crate) enum Answer {
    Object(u16, Value),
    /// Not by the API machinery, but by the server below it.
    Text(u16, &'static str),
    Refused(Refusal),
    Watch(Cursor, String, Option<u64>),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Ok(body) = body.collect().await else { return answer(400, "text/plain", Bytes::new()) };
    let asked = Asked {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        content: header(CONTENT_TYPE).split(';').next().unwrap_or_default().to_owned(),
        client: header(USER_AGENT).split('/').next().unwrap_or_default().to_owned(),
        body: body.to_bytes(),
    };
    unless_hanging(&shared).await;
    match settle(&asked, &shared).await {
        Answer::Object(code, value) => answer(code, "application/json", value.to_string().into()),
        Answer::Text(code, text) => {
            answer(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
        }
        Answer::Refused(refusal) => {
            let mut response = answer(refusal.code, "application/json", refusal.status().to_string().into());
            if let Some(seconds) = refusal.retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
        Answer::Watch(cursor, resource, timeout) => {
            let stream = Stream::new(shared, connection, resource, cursor, timeout);
            let frames = stream::unfold(stream, |mut stream| async move {
                let frame = stream.next().await?;
                Some((frame, stream))
            });
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
            response
        }
    }
}

/// Waits while the server hangs on purpose.
async fn unless_hanging(shared: &Shared) {
    let mut pulse = shared.pulse.subscribe();
    while shared.lock().plan.hanging {
        if pulse.changed().await.is_err() {
            return;
        }
    }
}

/// Answers; what asks for a revision of the future waits for it for a while.
async fn settle(asked: &Asked, shared: &Shared) -> Answer {
    let patience = Instant::now() + shared.timings.too_large_after;
    let mut pulse = shared.pulse.subscribe();
    loop {
        pulse.borrow_and_update();
        let answer = asked.answer(&mut shared.lock());
        let early = matches!(&answer, Answer::Refused(refusal) if refusal.code == 504 && refusal.retry_after.is_none());
        if !early {
            if asked.method != Method::GET {
                shared.wake();
            }
            return answer;
        }
        if timeout_at(patience, pulse.changed()).await.is_err() {
            return answer;
        }
    }
}

fn answer(code: u16, content: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content));
    response
}

/// A request that was read.
struct Asked {
    method: Method,
    path: String,
    query: String,
    content: String,
    client: String,
    body: Bytes,
}

impl Asked {
    fn answer(&self, world: &mut World) -> Answer {
        let segments: Vec<&str> = self.path.split('/').filter(|segment| !segment.is_empty()).collect();
        if let Some(document) = discovery::document(&world.cluster.kinds, &segments) {
            return document;
        }
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return NOT_FOUND,
        };
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] | [] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return NOT_FOUND,
        };
        let Some(kind) = world.cluster.kinds.find(group, version, plural).cloned() else { return NOT_FOUND };
        let status = subresource == "status";
        if !subresource.is_empty() && !(status && kind.status) {
            return NOT_FOUND;
        }
        let target = Target { kind, version: version.to_owned(), namespace, name: name.to_owned(), status };
        self.call(world, target).unwrap_or_else(Answer::Refused)
    }

    /// A call on a type or an object of it.
    fn call(&self, world: &mut World, mut target: Target) -> Result<Answer, Refusal> {
        let parameters = Parameters::parse(&self.query)?;
        let verb = match (&self.method, target.name.is_empty()) {
            (&Method::GET, true) if parameters.watch => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, true) => "create",
            (&Method::PUT, false) => "update",
            (&Method::PATCH, false) => "patch",
            (&Method::DELETE, false) => "delete",
            (&Method::DELETE, true) => "deletecollection",
            _ => {
                return Err(Refusal::new(
                    405,
                    "the server does not allow this method on the requested resource",
                ));
            }
        };
        self.admit(world, &target, verb)?;
        let World { cluster, plan, .. } = world;
        let namespace = target.namespace.as_deref();
        match verb {
            "watch" => {
                let timeout = parameters.timeout;
                let resource = target.kind.resource();
                let namespace = target.namespace.clone();
                let cursor = Cursor::open(
                    cluster,
                    Arc::clone(&target.kind),
                    &target.version,
                    namespace,
                    parameters,
                    plan,
                )?;
                return Ok(Answer::Watch(cursor, resource, timeout));
            }
            "list" => {
                return Ok(Answer::Object(
                    200,
                    cluster.list(&target.kind, &target.version, namespace, &parameters)?,
                ));
            }
            "get" => return Ok(Answer::Object(200, cluster.find(&target)?)),
            "delete" => return Ok(Answer::Object(200, cluster.delete(&target)?)),
            "deletecollection" => {
                return Ok(Answer::Object(200, cluster.delete_all(&target, &parameters)?));
            }
            _ => {}
        }
        let body = self.body()?;
        let caller = Caller {
            manager: if parameters.manager.is_empty() {
                self.client.clone()
            } else {
                parameters.manager.clone()
            },
            now: now(),
            dry_run: parameters.dry_run,
        };
        let verb = match verb {
            "create" => {
                target.name = crate::tree::text(&body, "/metadata/name").to_owned();
                Verb::Create(body)
            }
            "update" => Verb::Replace(body),
            _ => match self.content.as_str() {
                "application/apply-patch+yaml" => Verb::Apply { body, force: parameters.force },
                "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                    Verb::Merge(body)
                }
                other => {
                    return Err(Refusal::new(
                        415,
                        format!("the body of the request was in an unknown format: {other}"),
                    ));
                }
            },
        };
        let (code, object) = cluster.write(&target, verb, &caller)?;
        Ok(Answer::Object(code, object))
    }

    /// Rights, and refusals on purpose.
    fn admit(&self, world: &mut World, target: &Target, verb: &str) -> Result<(), Refusal> {
        let resource = target.kind.resource();
        if let Some(refusal) = world.plan.refuses(&resource) {
            return Err(refusal);
        }
        let named = if target.status { format!("{resource}/status") } else { resource };
        if world.plan.denies(verb, &named) {
            return Err(forbidden(&target.kind, target, verb));
        }
        Ok(())
    }

    fn body(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body).or_else(|_| {
            let text = String::from_utf8_lossy(&self.body);
            serde_saphyr::from_str(&text)
                .map_err(|error| Refusal::new(400, format!("the body is neither JSON nor YAML: {error}")))
        })
    }
}

/// The answer for a path that nobody serves, a missing definition among them.
const NOT_FOUND: Answer = Answer::Text(404, "404 page not found\n");

fn forbidden(kind: &Kind, target: &Target, verb: &str) -> Refusal {
    let scope = match &target.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let name = if target.name.is_empty() { String::new() } else { format!(" \"{}\"", target.name) };
    Refusal::new(
        403,
        format!(
            "{}{name} is forbidden: User \"fake\" cannot {verb} resource \"{}\" in API group \"{}\" {scope}",
            kind.resource(),
            kind.plural,
            kind.group
        ),
    )
}
