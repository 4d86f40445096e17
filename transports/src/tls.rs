//! Raw public keys for TLS (RFC 7250): a node is its ed25519 key, proved by both ends.
//!
//! TLS 1.3 only, Ed25519 only, ring; no certificate authority, no X.509, no dates. No early data,
//! which could be replayed, and no session tickets, which would skip the verifiers. The name a
//! client connects to *is* the expected key and never leaves the machine (no SNI).
//!
//! The verifiers consult the live [`AllowList`]; the owner of a connection checks its key once
//! more with [`AllowList::contains`], since the list may have changed during the handshake.

use crate::address::PeerId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq;

/// The protocol between peers.
pub const ALPN_PEER: &[u8] = b"tombolo/1";
/// The protocol between a host and a guest that holds an invite.
pub const ALPN_JOIN: &[u8] = b"tombolo-join/1";

/// The SubjectPublicKeyInfo of an ed25519 key up to the key itself (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A PKCS #8 version 1 private key up to the seed (RFC 8410, section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The keys that may connect as peers, shared with the verifiers and changed while they run.
#[derive(Debug, Default)]
pub struct AllowList(RwLock<BTreeSet<PeerId>>);

impl AllowList {
    /// Whether a key is on the list at this moment.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    /// Replaces the list; the next check sees it.
    pub fn replace(&self, peers: impl IntoIterator<Item = PeerId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = peers.into_iter().collect();
    }

    /// A copy of the list, in order.
    pub fn snapshot(&self) -> BTreeSet<PeerId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// This node's key, ready to sign handshakes, and the list it checks others against.
#[derive(Clone, Debug)]
pub struct Tls {
    id: PeerId,
    key: Arc<CertifiedKey>,
    allow: Arc<AllowList>,
    provider: Arc<CryptoProvider>,
}

impl Tls {
    /// Makes the key pair of a 32-byte seed.
    ///
    /// # Errors
    /// [`Error`] where the crypto provider takes no ed25519 key.
    pub fn new(secret: &[u8; 32], allow: Arc<AllowList>) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from([&PKCS8[..], secret].concat()));
        let signer = provider.key_provider.load_private_key(der)?;
        let spki =
            signer.public_key().ok_or_else(|| Error::General("an ed25519 key has a public half".into()))?;
        let certificate = CertificateDer::from(spki.as_ref().to_vec());
        let id = key_of(&certificate).ok_or_else(|| Error::General("not an ed25519 key".into()))?;
        Ok(Self { id, key: Arc::new(CertifiedKey::new(vec![certificate], signer)), allow, provider })
    }

    /// The public key of this node.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// For the accepting end. While `joining`, any key passes the handshake and may speak
    /// [`ALPN_JOIN`]; otherwise only listed keys pass, and only [`ALPN_PEER`] is spoken.
    ///
    /// # Errors
    /// [`Error`] where the crypto provider has no TLS 1.3.
    pub fn server(&self, joining: bool) -> Result<rustls::ServerConfig, Error> {
        let expects = if joining { Expects::AnyKey } else { Expects::Listed };
        let resolver = AlwaysResolvesServerRawPublicKeys::new(self.key.clone());
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.verifier(expects))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN_PEER.to_vec()];
        if joining {
            config.alpn_protocols.push(ALPN_JOIN.to_vec());
        }
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// For the dialling end, between peers or to join: the other key must be the one in the
    /// [`server_name`], and between peers also on the list.
    ///
    /// # Errors
    /// [`Error`] where the crypto provider has no TLS 1.3.
    pub fn client(&self, joining: bool) -> Result<rustls::ClientConfig, Error> {
        let expects = if joining { Expects::Named } else { Expects::NamedAndListed };
        let resolver = AlwaysResolvesClientRawPublicKeys::new(self.key.clone());
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(expects))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![if joining { ALPN_JOIN } else { ALPN_PEER }.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }

    fn verifier(&self, expects: Expects) -> Arc<Verifier> {
        Arc::new(Verifier { expects, allow: self.allow.clone(), provider: self.provider.clone() })
    }
}

/// The key in a certificate message, if it is one ed25519 raw public key.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<PeerId> {
    certificate.strip_prefix(&SPKI[..])?.try_into().ok().map(PeerId)
}

/// The name by which the dialling end asks for a peer: its key in base32, under a domain that can
/// never be resolved (RFC 6761). It is compared here and not sent.
pub fn server_name(peer: &PeerId) -> String {
    let key = data_encoding::BASE32_NOPAD.encode(peer.as_bytes()).to_ascii_lowercase();
    format!("{key}.tombolo.invalid")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    AnyKey,
    Listed,
    Named,
    NamedAndListed,
}

#[derive(Debug)]
struct Verifier {
    expects: Expects,
    allow: Arc<AllowList>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        let key = key_of(certificate).filter(|_| others.is_empty());
        let key = key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let named = || {
            name.is_some_and(|name| bool::from(name.to_str().as_bytes().ct_eq(server_name(&key).as_bytes())))
        };
        let expected = match self.expects {
            Expects::AnyKey => true,
            Expects::Listed => self.allow.contains(&key),
            Expects::Named => named(),
            Expects::NamedAndListed => named() && self.allow.contains(&key),
        };
        if expected { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }
}

fn tls13_only<T>() -> Result<T, Error> {
    Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, Some(server_name)).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_only()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, None).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_only()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn the_identity_is_the_public_key_of_the_seed() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let tls = Tls::new(&seed.try_into().unwrap(), Arc::default()).unwrap();
        assert_eq!(tls.id().as_bytes()[..], key[..]);
    }

    #[test]
    fn a_name_is_a_valid_server_name_for_any_key() {
        for byte in [0, 0x55, 0xff] {
            ServerName::try_from(server_name(&PeerId([byte; 32]))).unwrap();
        }
    }

    #[test]
    fn only_one_ed25519_key_is_a_certificate() {
        let spki = [&SPKI[..], &[7; 32]].concat();
        assert_eq!(key_of(&CertificateDer::from(spki.clone())), Some(PeerId([7; 32])));
        assert_eq!(key_of(&CertificateDer::from(spki[..43].to_vec())), None);
        assert_eq!(key_of(&CertificateDer::from([&spki[..], &[0]].concat())), None);
    }
}
