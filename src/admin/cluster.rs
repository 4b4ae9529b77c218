//! The endpoint of a process without workers, which only follows a cluster: a controller.

use super::metrics::{CONTENT_TYPE, of_cluster};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use k8s_adapter::cluster::Vitals;
use std::sync::Arc;

/// `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn router(vitals: Arc<Vitals>) -> Router {
    Router::new()
        // Whoever answers is alive: there is one thread.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(vitals)
}

/// Whether the cluster has been read once; what happens to it later is no reason to be restarted.
async fn readyz(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    let board = vitals.board();
    match board.age {
        Some(_) => (StatusCode::OK, "ready\n".to_owned()),
        None => (StatusCode::SERVICE_UNAVAILABLE, board.waiting_for().join("\n") + "\n"),
    }
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], of_cluster(&vitals.board()))
}
