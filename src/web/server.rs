//! The listener: connections over TCP, as many at once and as slow as on the unix socket.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access::WebAccess;
use super::routes;
use crate::api::accept::{ClientConnection, serve_all, serve_connection};
use crate::api::server::{ServerContext, limits};
use crate::config::WebSettings;
use crate::runtime::NodeClient;

/// How long a page or a form may take, its body included.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The server of a running node. Dropped, it aborts requests in progress.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

/// What every connection shares.
#[derive(Clone)]
struct Served {
    router: Router,
    access: Arc<WebAccess>,
    stopped: watch::Receiver<bool>,
}

impl WebServer {
    /// Listens where the settings name an address; port 0 takes any free port. It runs on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's error if the address is not of this machine or is in use.
    pub fn start(settings: &WebSettings, client: NodeClient) -> io::Result<Option<Self>> {
        let Some(listen) = settings.listen else { return Ok(None) };
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let access = Arc::new(WebAccess::new(settings, &machine, address.port()));
        let context = ServerContext::new(client.clone(), stopped.clone());
        let router = routes::router(access.clone(), client, context);
        let served = Served { router, access, stopped: stopped.clone() };
        let mut accepting = JoinSet::new();
        accepting.spawn(serve_all(limits("web"), listener, stopped, move |stream, connection| {
            serve(stream, served.clone(), connection)
        }));
        Ok(Some(WebServer { address, stop, accepting }))
    }

    /// The address on which the page is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more requests and lets those in progress finish.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ = self.accepting.join_next().await;
    }
}

async fn serve(stream: TcpStream, served: Served, connection: ClientConnection) {
    // A connection that is gone already has no address.
    let Ok(local) = stream.local_addr() else { return };
    let Served { router, access, stopped } = served;
    let router = TowerToHyperService::new(router);
    let handler = service_fn(move |request| {
        let (router, access, connection) = (router.clone(), access.clone(), connection.clone());
        async move { Ok::<_, Infallible>(admitted(request, &access, local.ip(), router, connection).await) }
    });
    serve_connection(stream, handler, stopped, "web").await;
}

async fn admitted(
    mut request: Request<Incoming>,
    access: &WebAccess,
    local: IpAddr,
    router: TowerToHyperService<Router>,
    connection: ClientConnection,
) -> axum::response::Response {
    if let Err(error) = access.admit(request.headers(), local) {
        return routes::foreign(&error);
    }
    let is_interface = request.uri().path().starts_with("/v1/");
    // A page has no body: the request is whole. The interface marks that itself, behind the body; a form is small and has its time.
    let _at_work = (request.method() == Method::GET && !is_interface).then(|| connection.at_work());
    request.extensions_mut().insert(connection);
    let routed = router.call(request);
    let answered = match is_interface {
        true => routed.await,
        false => match tokio::time::timeout(PAGE_TIMEOUT, routed).await {
            Ok(answered) => answered,
            Err(_) => return routes::too_slow(),
        },
    };
    answered.unwrap_or_else(|never| match never {})
}
