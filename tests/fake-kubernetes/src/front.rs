//! HTTP/1.1: requests become calls on the cluster, its answers bodies or streams.

use crate::call::{Answer, Asked};
use crate::server::Shared;
use crate::stream::Stream;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
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
        table: header(ACCEPT).contains("as=Table"),
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
            let stream = Stream::new(shared, connection, resource, *cursor, timeout);
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
