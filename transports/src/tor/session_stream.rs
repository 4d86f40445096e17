//! The session's TLS over a stream of Tor, bound to the address that was dialled.
//!
//! ```text
//! dialler  → TLS 1.3 with raw public keys, as on the LAN → acceptor
//! dialler  → 32 bytes: exporter "EXPORTER-tombolo-onion-1" (RFC 8446, section 7.5) over the onion key that was dialled
//! ```
//!
//! The acceptor computes the same over its own onion key. So a stream that was opened to one address cannot be passed on to
//! the service of another.

use crate::address::{OnionHost, PeerId};
use crate::link::RejectReason;
use crate::session::{CarrierEnd, Protocol};
use crate::tls::{self, Tls};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ConnectionCommon, Error, ServerConfig};
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

const BINDING_LABEL: &[u8] = b"EXPORTER-tombolo-onion-1";
/// Bytes of the binding.
const BINDING_BYTES: usize = 32;

/// The TLS configurations of both ends, for sessions and for requests to join.
#[derive(Clone, Debug)]
pub(super) struct SessionTls {
    dial: Arc<ClientConfig>,
    join: Arc<ClientConfig>,
    closed: Arc<ServerConfig>,
    joining: Arc<ServerConfig>,
}

impl SessionTls {
    pub(super) fn new(tls: &Tls) -> Result<Self, Error> {
        Ok(Self {
            dial: Arc::new(tls.client(false)?),
            join: Arc::new(tls.client(true)?),
            closed: Arc::new(tls.server(false)?),
            joining: Arc::new(tls.server(true)?),
        })
    }

    /// The dialling end: proves the peer's key, and sends the binding.
    pub(super) async fn connect<S>(
        &self,
        stream: S,
        peer: PeerId,
        host: &OnionHost,
        protocol: Protocol,
    ) -> Result<TlsStream<S>, CarrierEnd>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match protocol {
            Protocol::Peer => self.dial.clone(),
            Protocol::Join => self.join.clone(),
        };
        let name =
            ServerName::try_from(tls::server_name(&peer)).expect("a key in base32 is a valid host name");
        let connecting = TlsConnector::from(config).connect(name, stream).await;
        let mut stream = connecting.map_err(|error| ended(&error))?;
        let bytes = binding(stream.get_ref().1, host).ok_or(CarrierEnd::Failed)?;
        stream.write_all(&bytes).await.map_err(|error| ended(&error))?;
        stream.flush().await.map_err(|error| ended(&error))?;
        Ok(stream.into())
    }

    /// The accepting end: which key was proved, and what for.
    pub(super) async fn accept<S>(
        &self,
        stream: S,
        own: &OnionHost,
        joining: bool,
    ) -> Result<(TlsStream<S>, PeerId, Protocol), RejectReason>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = if joining { &self.joining } else { &self.closed };
        let accepting = TlsAcceptor::from(config.clone()).accept(stream).await;
        let mut stream = accepting.map_err(|error| rejection(&error))?;
        let expected = binding(stream.get_ref().1, own).ok_or(RejectReason::HandshakeFailed)?;
        let mut bound = [0; BINDING_BYTES];
        stream.read_exact(&mut bound).await.map_err(|error| rejection(&error))?;
        if !bool::from(bound.ct_eq(&expected)) {
            return Err(RejectReason::HandshakeFailed);
        }
        let connection = stream.get_ref().1;
        let key = match connection.peer_certificates() {
            Some([certificate]) => tls::key_of(certificate),
            _ => None,
        };
        let joins = connection.alpn_protocol() == Some(tls::ALPN_JOIN);
        let protocol = if joins { Protocol::Join } else { Protocol::Peer };
        Ok((stream.into(), key.ok_or(RejectReason::HandshakeFailed)?, protocol))
    }
}

fn binding<D>(connection: &ConnectionCommon<D>, host: &OnionHost) -> Option<[u8; BINDING_BYTES]> {
    connection.export_keying_material([0; BINDING_BYTES], BINDING_LABEL, Some(&host.0)).ok()
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What ended the dialling end's connection.
fn ended(error: &io::Error) -> CarrierEnd {
    match tls_error(error) {
        Some(Error::AlertReceived(
            AlertDescription::AccessDenied | AlertDescription::NoApplicationProtocol,
        )) => CarrierEnd::Refused,
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            CarrierEnd::OtherKey
        }
        _ => CarrierEnd::Aborted,
    }
}

/// What a failed handshake counts as at the accepting end.
fn rejection(error: &io::Error) -> RejectReason {
    match tls_error(error) {
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            RejectReason::UnknownKey
        }
        Some(Error::NoApplicationProtocol) => RejectReason::NoInvite,
        _ => RejectReason::HandshakeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::AllowList;

    const HOST: OnionHost = OnionHost([5; 32]);

    fn end(seed: u8, allows: &[PeerId]) -> (PeerId, SessionTls) {
        let allow = Arc::new(AllowList::default());
        allow.replace(allows.iter().copied());
        let tls = Tls::new(&[seed; 32], allow).unwrap();
        (tls.id(), SessionTls::new(&tls).unwrap())
    }

    async fn meet(
        dialled: OnionHost,
        protocol: Protocol,
        known: bool,
        joining: bool,
    ) -> (Result<(), CarrierEnd>, Result<(PeerId, Protocol), RejectReason>) {
        let (a, b) = (end(1, &[]).0, end(2, &[]).0);
        let dialler = end(1, &[b]).1;
        let acceptor = if known { end(2, &[a]).1 } else { end(2, &[]).1 };
        let (near, far) = tokio::io::duplex(4096);
        let dial = async { dialler.connect(near, b, &dialled, protocol).await };
        let accept = async {
            let (_stream, key, protocol) = acceptor.accept(far, &HOST, joining).await?;
            Ok((key, protocol))
        };
        let (dialled, accepted) = tokio::join!(dial, accept);
        (dialled.map(|_| ()), accepted)
    }

    #[tokio::test]
    async fn both_ends_prove_their_keys_and_the_address() {
        let a = end(1, &[]).0;
        let (dialled, accepted) = meet(HOST, Protocol::Peer, true, false).await;
        assert_eq!((dialled, accepted), (Ok(()), Ok((a, Protocol::Peer))));
        let (_, accepted) = meet(HOST, Protocol::Join, false, true).await;
        assert_eq!(accepted, Ok((a, Protocol::Join)));
    }

    /// The operator of the service at another address cannot pass a stream on to this one.
    #[tokio::test]
    async fn a_stream_that_was_opened_to_another_address_is_refused() {
        let (_, accepted) = meet(OnionHost([6; 32]), Protocol::Peer, true, false).await;
        assert_eq!(accepted, Err(RejectReason::HandshakeFailed));
    }

    #[tokio::test]
    async fn a_stranger_is_refused_and_a_joiner_while_no_invite_is_open() {
        let (_, accepted) = meet(HOST, Protocol::Peer, false, false).await;
        assert_eq!(accepted, Err(RejectReason::UnknownKey));
        let (dialled, accepted) = meet(HOST, Protocol::Join, false, false).await;
        assert_eq!((dialled, accepted), (Err(CarrierEnd::Refused), Err(RejectReason::NoInvite)));
    }
}
