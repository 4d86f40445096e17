//! The parts of a running node that only the program has: the local interface, JSON calls, the page, the bridge to a broker, messages to
//! the operator, and the published state of the machine.

use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::mpsc;

use super::{Settings, system};
use crate::api::{rpc::CallServer, server::LocalServer};
use crate::config::Config;
use crate::folder::{self, StartError};
#[cfg(feature = "mqtt")]
use crate::mqtt::MqttBridge;
use crate::probe::Publisher;
use crate::runtime::links::TorLinks;
use crate::runtime::notify::Notifier;
use crate::runtime::{Handed, NodeClient};
#[cfg(feature = "web")]
use crate::web::server::WebServer;

/// The parts that only the program has.
pub(super) struct ProgramParts {
    socket: Option<LocalServer>,
    calls: Option<CallServer>,
    #[cfg(feature = "web")]
    web: Option<WebServer>,
    #[cfg(feature = "mqtt")]
    mqtt: Option<MqttBridge>,
    #[cfg_attr(not(feature = "mqtt"), expect(dead_code, reason = "the bridge alone asks for it"))]
    own_did: String,
    publisher: Option<Publisher>,
    notifier: Notifier,
}

impl ProgramParts {
    /// Starts what has to be there before the links: the server of JSON calls, to which the onion service leads, and what takes
    /// messages to the operator.
    pub(super) fn begin(
        config: &Config,
        own_did: String,
        client: &NodeClient,
        messages: mpsc::Receiver<Handed>,
        tor: &mut Option<TorLinks>,
    ) -> Result<Self, StartError> {
        let calls = start_calls(config, client)?;
        if let (Some(tor), Some(calls)) = (tor, &calls) {
            tor.config.calls = Some(calls.address().to_string());
        }
        Ok(ProgramParts {
            socket: None,
            calls,
            #[cfg(feature = "web")]
            web: None,
            #[cfg(feature = "mqtt")]
            mqtt: None,
            own_did,
            publisher: None,
            notifier: Notifier::start(config.notify_settings(), messages, client.clone()),
        })
    }

    /// Starts what the settings ask for of the other parts, once the node runs.
    pub(super) fn start(
        &mut self,
        folder: &Path,
        settings: &Settings,
        client: &NodeClient,
    ) -> Result<(), StartError> {
        if settings.socket {
            let server = LocalServer::start(folder, &settings.config.socket, client.clone());
            let path = folder.join(folder::socket::SOCKET_FILE);
            self.socket = Some(server.map_err(|source| StartError::Socket { path, source })?);
        }
        #[cfg(feature = "web")]
        {
            let server = WebServer::start(&settings.config.web, client.clone());
            let what = "cannot listen for browsers (`listen` in section [web])";
            self.web = server.map_err(|source| system(what, source))?;
        }
        #[cfg(feature = "mqtt")]
        {
            self.mqtt = MqttBridge::start(&settings.config.mqtt, client.clone(), &self.own_did);
        }
        if settings.publish {
            self.publisher = Some(Publisher::start(folder.to_owned(), &settings.config, client.clone()));
        }
        Ok(())
    }

    /// The path of the local interface, while its file is there.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(LocalServer::path).filter(|path| path.exists())
    }

    /// The address that takes JSON calls.
    pub(super) fn calls_address(&self) -> Option<SocketAddr> {
        self.calls.as_ref().map(CallServer::address)
    }

    /// The address of the page.
    #[cfg(feature = "web")]
    pub(super) fn web_address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(WebServer::address)
    }

    /// Ends all parts, those that write first.
    pub(super) async fn shutdown(self) {
        if let Some(publisher) = self.publisher {
            publisher.shutdown().await;
        }
        #[cfg(feature = "mqtt")]
        if let Some(mqtt) = self.mqtt {
            mqtt.shutdown().await;
        }
        #[cfg(feature = "web")]
        if let Some(web) = self.web {
            web.shutdown().await;
        }
        if let Some(socket) = self.socket {
            socket.shutdown().await;
        }
        if let Some(calls) = self.calls {
            calls.shutdown().await;
        }
        self.notifier.shutdown().await;
    }
}

/// The server of JSON calls, where the settings or Tor need one.
fn start_calls(config: &Config, client: &NodeClient) -> Result<Option<CallServer>, StartError> {
    let for_tor = config.tor.enabled.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let listen = config.rpc.listen.or(for_tor);
    let started = listen.map(|listen| CallServer::start(listen, client.clone())).transpose();
    started.map_err(|source| system("cannot listen for JSON calls (`listen` in section [rpc])", source))
}
