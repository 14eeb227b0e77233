//! The API server: axum on a current-thread runtime in a thread of its own, behind a 0600 unix socket.
//!
//! Invariants: the peer is who the kernel says (`SO_PEERCRED`), never who the request says; handlers block, so they run on
//! a few blocking threads and never on the runtime's; bodies are bounded; every error is JSON. `/healthz` and `/readyz`
//! tell nothing but that, and are the only routes that do not pass the door.

use std::future::IntoFuture;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{BytesRejection, RawPathParamsRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, RawPathParams, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::api::{ApiError, BODY_MAX, ErrorKind, Health};
use super::authorize::Actor;
use super::door::Door;
use super::operations::Operations;
use super::routes::{Answer, Call, Method, ROUTES, Route, Shared};
use super::socket::{self, BoundPath};

/// Threads on which handlers may block. Some may wait for keepers of KEKs, and the others must not wait for them.
const BLOCKING_THREADS: usize = 16;
/// How long requests under way may take when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Why the control server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket cannot be made.
    #[error("cannot listen on the control socket {}", path.display())]
    Bind {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A living daemon listens there.
    #[error("another daemon listens on the control socket {}", path.display())]
    InUse {
        /// Its path.
        path: PathBuf,
    },
    /// Something that is no socket has its name.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
    /// The runtime or its thread cannot be made.
    #[error("cannot start the control server")]
    Start {
        /// What the system said.
        source: io::Error,
    },
}

/// A running control server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    bound: Option<BoundPath>,
}

impl Server {
    /// Listens at `path` and serves `operations` behind `door`.
    pub fn start(path: &Path, door: Arc<Door>, operations: Arc<dyn Operations>) -> Result<Server, ServerError> {
        socket::ensure_runtime_dir(path).map_err(|source| ServerError::Bind { path: path.into(), source })?;
        let (listener, bound) = socket::listen_at(path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(|source| ServerError::Start { source })?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::from_std(listener).map_err(|source| ServerError::Start { source })?
        };
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::new(Shared { door, operations }));
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                runtime.block_on(run(listener, router, stopped));
                runtime.shutdown_timeout(STOP_PATIENCE);
            })
            .map_err(|source| ServerError::Start { source })?;
        Ok(Server { stop: Some(stop), thread: Some(thread), bound: Some(bound) })
    }

    /// Takes no more requests, lets those under way end (within 5 s), and removes the socket.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.bound.take();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves until told to stop, then gives requests under way some time.
async fn run(listener: UnixListener, router: Router, stopped: oneshot::Receiver<()>) {
    let (drain, drained) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serve = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    let mut serve = std::pin::pin!(serve.into_future());
    tokio::select! {
        _ = &mut serve => return,
        _ = stopped => {}
    }
    let _ = drain.send(());
    let _ = tokio::time::timeout(STOP_PATIENCE, serve).await;
}

/// The peer of a connection. None if the kernel did not say: such a peer is turned away.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<Actor>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        let credentials = stream.io().peer_cred().ok();
        Peer(credentials.map(|peer| Actor::peer(peer.uid(), peer.pid())))
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new().route("/healthz", get(|| async { health(Ok(())) })).route("/readyz", get(ready));
    for route in ROUTES {
        // Two methods of one path are two routes; axum merges them.
        router = router.route(route.path, endpoint(route));
    }
    router
        .fallback(|| async { respond(Err(unknown_route("no such route"))) })
        .method_not_allowed_fallback(|| async { respond(Err(unknown_route("no such method on this route"))) })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

fn endpoint(route: &'static Route) -> MethodRouter<Arc<Shared>> {
    let handle = move |State(shared): State<Arc<Shared>>,
                       ConnectInfo(peer): ConnectInfo<Peer>,
                       params: Result<RawPathParams, RawPathParamsRejection>,
                       RawQuery(query): RawQuery,
                       body: Result<Bytes, BytesRejection>| async move {
        let volume = match &params {
            Ok(params) => params.iter().next().map(|(_, value)| value.to_owned()),
            Err(_) => None,
        };
        respond(blocking(move || answer(route, &shared, peer, volume, query, body)).await)
    };
    match route.method {
        Method::Get => get(handle),
        Method::Post => post(handle),
    }
}

/// Runs a handler where it may block.
async fn blocking(act: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(act).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "the request was dropped on the way")),
    }
}

fn answer(
    route: &Route,
    shared: &Shared,
    peer: Peer,
    volume: Option<String>,
    query: Option<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Peer(Some(actor)) = peer else {
        return Err(ApiError::new(ErrorKind::Denied, "the kernel did not say who is asking"));
    };
    let body = body.map_err(|rejection| {
        ApiError::new(ErrorKind::BadInput, format!("cannot take the request body: {}", rejection.body_text()))
            .hint(format!("a body is at most {BODY_MAX} bytes"))
    })?;
    let (volume, query) = (volume.unwrap_or_default(), query.unwrap_or_default());
    (route.handler)(&Call { shared, actor, verb: route.verb, volume, query, body: &body })
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let ready = tokio::task::spawn_blocking(move || shared.operations.ready()).await;
    health(ready.unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Internal, "the request was dropped on the way"))))
}

fn health(state: Result<(), ApiError>) -> Response {
    respond(state.map(|()| serde_json::to_vec(&Health { ok: true }).unwrap_or_default()))
}

fn unknown_route(what: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, what).hint("GET /v1/openapi.json lists the routes")
}

/// Turns an answer into HTTP.
fn respond(answer: Answer) -> Response {
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, serde_json::to_vec(&error).unwrap_or_default())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
