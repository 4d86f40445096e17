//! Section `[route]`: which links carry what, and on which terms.
//!
//! ```toml
//! [route.peers]
//! "did:key:z6Mk…" = "tor-only"
//! [route.documents]
//! plan = "lan-first"
//! "did:key:z6Mk…/plan" = "mesh-only"
//! [route.tor]
//! price = 5
//! only = "02:00-05:00"
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use tombolo_transports::{Medium, PeerId};

use crate::config::Config;
use crate::identity::parse_did;
use crate::router::{LinkTerms, Preference, RouteSettings};

/// The preferences of documents: by name, for one owner or for all.
type OfDocuments = BTreeMap<String, BTreeMap<Option<PeerId>, Preference>>;

/// Section `[route]`: settings of single peers and documents, and the terms of each kind of link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSection {
    /// By the DID of the peer: names are for people, and change.
    #[serde(deserialize_with = "peers")]
    pub peers: BTreeMap<PeerId, Preference>,
    /// By the name of the document, or its owner's DID, a slash and the name.
    #[serde(deserialize_with = "documents")]
    pub documents: BTreeMap<String, BTreeMap<Option<PeerId>, Preference>>,
    /// The terms of the local network.
    pub lan: LinkTerms,
    /// The terms of Tor.
    pub tor: LinkTerms,
    /// The terms of all radios.
    pub mesh: LinkTerms,
    /// The terms of single radios, by name, in place of those of all.
    pub radios: BTreeMap<String, LinkTerms>,
}

impl Config {
    /// The settings that the router goes by.
    pub fn routes(&self) -> RouteSettings {
        let RouteSection { peers, documents, lan, tor, mesh, radios } = self.route.clone();
        RouteSettings {
            node: Some(self.preference),
            peers,
            documents,
            radios,
            terms: [(Medium::Lan, lan), (Medium::Tor, tor), (Medium::Mesh, mesh)].into(),
        }
    }
}

fn peers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PeerId, Preference>, D::Error> {
    let by_text = BTreeMap::<String, Preference>::deserialize(from)?;
    let read = |(text, preference): (String, Preference)| Ok((peer(&text)?, preference));
    by_text.into_iter().map(read).collect()
}

fn documents<'de, D: Deserializer<'de>>(from: D) -> Result<OfDocuments, D::Error> {
    let mut documents = OfDocuments::new();
    for (text, preference) in BTreeMap::<String, Preference>::deserialize(from)? {
        let (owner, name) = match text.split_once('/') {
            Some((owner, name)) => (Some(peer(owner)?), name),
            None => (None, text.as_str()),
        };
        documents.entry(name.to_owned()).or_default().insert(owner, preference);
    }
    Ok(documents)
}

fn peer<E: serde::de::Error>(text: &str) -> Result<PeerId, E> {
    parse_did(text).map_err(|_| {
        E::custom(format!(
            "`{text}` is no DID: peers are named like did:key:z6Mk…, as `tombolo peers --json` shows"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::did;

    #[test]
    fn peers_documents_and_terms_reach_the_router() {
        let peer = crate::identity::Keypair::from_seeds(&[1; 32], &[2; 32]).peer_id();
        let text = format!(
            "name = \"a\"\npreference = \"lan-first\"\n[route.peers]\n\"{did}\" = \"tor-only\"\n[route.documents]\nplan = \"mesh-only\"\n\"{did}/plan\" = \"auto\"\n[route.tor]\nprice = 3\nmetered = true\nonly = \"02:00-05:00\"\nlast_resort = true\n[route.radios.hill]\nprice = 7\n",
            did = did(&peer)
        );
        let routes = Config::parse(&text).unwrap().routes();
        assert_eq!(
            (routes.node, routes.peers.get(&peer)),
            (Some(Preference::LanFirst), Some(&Preference::TorOnly))
        );
        let plan = routes.documents.get("plan").unwrap();
        assert_eq!(plan, &[(None, Preference::MeshOnly), (Some(peer), Preference::Auto)].into());
        let only = "02:00-05:00".parse().ok();
        let tor = LinkTerms { metered: true, price: 3, last_resort: true, only };
        assert_eq!(routes.terms.get(&Medium::Tor), Some(&tor));
        assert_eq!(routes.terms.get(&Medium::Lan), Some(&LinkTerms::default()));
        assert_eq!(routes.radios.get("hill").map(|terms| terms.price), Some(7));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let cases = [
            ("name = \"a\"\n[route.peers]\nharbour = \"tor-only\"\n", "no DID"),
            ("name = \"a\"\n[route.documents]\nplan = \"fastest\"\n", "fastest"),
            ("name = \"a\"\n[route.documents]\n\"harbour/plan\" = \"auto\"\n", "no DID"),
            ("name = \"a\"\n[route.tor]\nonly = \"2-5\"\n", "02:00-05:00"),
            ("name = \"a\"\n[route.satellite]\nprice = 5\n", "satellite"),
            ("name = \"a\"\n[route.tor]\nprize = 5\n", "prize"),
        ];
        for (text, word) in cases {
            let (line, why) = Config::parse(text).expect_err(text);
            assert!((2..=3).contains(&line) && why.contains(word), "{text}: line {line}: {why}");
        }
    }
}
