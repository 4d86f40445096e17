//! What the operator changes of the router's settings while the node runs. It is on disk as `routes` in `meta`, JSON:
//!
//! ```text
//! {"node": "lan-first", "peers": {DID: "tor-only"}, "documents": [[DID, "plan", "mesh-only"]], "terms": {"tor": {…}},
//!  "radios": {"hill": {…}}}
//! ```
//!
//! What does not read is left out: then the settings of the file hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tombolo_transports::Medium;

use crate::core::Core;
use crate::identity::{did, parse_did};
use crate::io::view::RouteOrder;
use crate::io::{BadRoute, CommandError, Quota};
use crate::replica::Replica;
use crate::router::{LinkTerms, OpenHours, Preference, RouteChange, RouteSettings};
use crate::store::StoreWrite;
use crate::unicast::Unicast;

/// The key in `meta`.
const ROUTES: &str = "routes";
/// The word that ends the hours of a link.
const ALWAYS: &str = "always";

/// The changed settings as they stand on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredRoutes {
    node: Option<Preference>,
    peers: BTreeMap<String, Preference>,
    documents: Vec<(String, String, Preference)>,
    terms: BTreeMap<Medium, LinkTerms>,
    /// Absent in what an earlier version has written.
    #[serde(default)]
    radios: BTreeMap<String, LinkTerms>,
}

impl StoredRoutes {
    fn of(settings: &RouteSettings) -> Self {
        let documents = settings.documents.iter().flat_map(|(name, of_name)| {
            let owned = of_name.iter().filter_map(|(owner, preference)| Some((owner.as_ref()?, preference)));
            owned.map(|(owner, preference)| (did(owner), name.clone(), *preference))
        });
        StoredRoutes {
            node: settings.node,
            peers: settings.peers.iter().map(|(peer, preference)| (did(peer), *preference)).collect(),
            documents: documents.collect(),
            terms: settings.terms.clone(),
            radios: settings.radios.clone(),
        }
    }

    fn settings(self) -> RouteSettings {
        let StoredRoutes { node, terms, radios, .. } = self;
        let mut settings = RouteSettings { node, terms, radios, ..RouteSettings::default() };
        let peers = self.peers.into_iter();
        settings.peers = peers.filter_map(|(text, is)| Some((parse_did(&text).ok()?, is))).collect();
        for (owner, name, preference) in self.documents {
            if let Ok(owner) = parse_did(&owner) {
                settings.documents.entry(name).or_default().insert(Some(owner), preference);
            }
        }
        settings
    }
}

impl Unicast {
    /// Takes the settings that an earlier run had changed.
    pub fn load_routes(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        let Some(bytes) = meta.get(ROUTES) else { return };
        match serde_json::from_slice::<StoredRoutes>(bytes) {
            Ok(stored) => self.router.policy.restore(stored.settings()),
            Err(error) => {
                tracing::warn!(%error, "the changed routes on disk do not read: those of the file hold")
            }
        }
    }

    /// Changes the router's settings, for the next decision and for later runs.
    ///
    /// # Errors
    /// [`CommandError::BadRoute`] if the order does not fit together; [`CommandError::Limit`] with too many settings; those of a
    /// peer or document that is not known.
    pub fn order_route(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        order: &RouteOrder,
    ) -> Result<(), CommandError> {
        let change = self.route_change(core, replica, order)?;
        if !self.router.policy.change(&change) {
            return Err(CommandError::Limit(Quota::Routes));
        }
        let stored = StoredRoutes::of(self.router.policy.changed());
        let bytes = serde_json::to_vec(&stored).expect("words and numbers under text keys");
        core.gate.write(StoreWrite::PutMeta(ROUTES.into(), bytes));
        // What was held back may leave now, without waiting for the next heartbeat.
        self.renew_frontiers(core, replica);
        Ok(())
    }

    fn route_change(
        &self,
        core: &Core,
        replica: &Replica,
        order: &RouteOrder,
    ) -> Result<RouteChange, CommandError> {
        let RouteOrder { peer, doc, link, radio, preference, metered, price, last_resort, only, reset } =
            order;
        let has_terms = metered.is_some() || price.is_some() || last_resort.is_some() || only.is_some();
        let targets = [peer.is_some(), doc.is_some(), link.is_some(), radio.is_some()];
        if targets.into_iter().filter(|is_named| *is_named).count() > 1 {
            return Err(BadRoute::SeveralTargets.into());
        }
        if preference.is_none() && !has_terms && !reset {
            return Err(BadRoute::Nothing.into());
        }
        if let Some(medium) = link {
            if *medium == Medium::Memory {
                return Err(BadRoute::NoSuchLink.into());
            }
            let terms = terms_change(self.router.policy.terms(*medium), order)?;
            return Ok(RouteChange::Terms(*medium, terms));
        }
        if let Some(name) = radio {
            let policy = &self.router.policy;
            let is_set =
                [policy.changed(), policy.configured()].iter().any(|set| set.radios.contains_key(name));
            if !is_set && !self.router.table.has_radio(name) {
                return Err(BadRoute::NoSuchRadio.into());
            }
            let terms = terms_change(policy.radio_terms(name), order)?;
            return Ok(RouteChange::RadioTerms(name.clone(), terms));
        }
        if has_terms {
            return Err(BadRoute::TermsOfNoLink.into());
        }
        let preference = preference.filter(|_| !reset);
        Ok(match (peer, doc) {
            (Some(peer), _) => RouteChange::Peer(replica.resolve_peer(peer)?, preference),
            (None, Some(doc)) => {
                let id = replica.resolve_document(core, doc)?;
                RouteChange::Document { owner: id.owner, name: id.name.as_str().to_owned(), preference }
            }
            (None, None) => RouteChange::Node(preference),
        })
    }
}

/// The terms that follow from an order on those from before; none where the file's hold again.
fn terms_change(before: LinkTerms, order: &RouteOrder) -> Result<Option<LinkTerms>, BadRoute> {
    let RouteOrder { preference, metered, price, last_resort, only, reset, .. } = order;
    if preference.is_some() {
        return Err(BadRoute::PreferenceOfLink);
    }
    let only = match only.as_deref() {
        None => before.only,
        Some(ALWAYS) => None,
        Some(hours) => Some(hours.parse::<OpenHours>()?),
    };
    let terms = LinkTerms {
        metered: metered.unwrap_or(before.metered),
        price: price.unwrap_or(before.price),
        last_resort: last_resort.unwrap_or(before.last_resort),
        only,
    };
    Ok((!reset).then_some(terms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::side::{TestSide, link_caps, pair};
    use tombolo_transports::LinkId;

    fn order() -> RouteOrder {
        RouteOrder::default()
    }

    fn ordered(unicast: &mut Unicast, side: &mut TestSide, order: &RouteOrder) -> Result<(), CommandError> {
        unicast.order_route(&mut side.core, &side.replica, order)
    }

    #[test]
    fn what_was_changed_holds_in_the_next_run() {
        let (mut owner, reader, id) = pair();
        let mut unicast = Unicast::new(&mut owner.core);
        let peer = Some(did(&reader.me()));
        let tor_only = Some(Preference::TorOnly);
        let orders = [
            RouteOrder { preference: Some(Preference::LanFirst), ..order() },
            RouteOrder { peer, preference: tor_only, ..order() },
            RouteOrder { doc: Some("list".into()), preference: Some(Preference::MeshOnly), ..order() },
            RouteOrder {
                link: Some(Medium::Tor),
                price: Some(5),
                only: Some("02:00-05:00".into()),
                ..order()
            },
            RouteOrder { link: Some(Medium::Tor), metered: Some(true), ..order() },
            RouteOrder { radio: Some("hill".into()), last_resort: Some(true), ..order() },
        ];
        unicast.router.table.radio(LinkId(1), "hill", link_caps(Medium::Mesh), None);
        for order in &orders {
            ordered(&mut unicast, &mut owner, order).unwrap();
        }
        owner.core.gate.commit(Default::default()).unwrap();
        let mut again = Unicast::new(&mut owner.core);
        again.load_routes(&owner.core.gate.load_again().unwrap().meta);
        assert_eq!(again.router().policy, unicast.router().policy);
        let route = again.router().policy.route(&reader.me(), Some((&id.document.owner, "list")));
        assert_eq!((route.node, route.peer), (Preference::LanFirst, tor_only));
        assert_eq!(route.document, Some(Preference::MeshOnly));
        let only = "02:00-05:00".parse().ok();
        let terms = LinkTerms { metered: true, price: 5, last_resort: false, only };
        assert_eq!(again.router().policy.terms(Medium::Tor), terms);
        assert!(again.router().policy.radio_terms("hill").last_resort);
        assert!(!again.router().policy.terms(Medium::Mesh).last_resort, "one radio, not all");
        ordered(&mut again, &mut owner, &RouteOrder { reset: true, ..order() }).unwrap();
        ordered(&mut again, &mut owner, &RouteOrder { reset: true, link: Some(Medium::Tor), ..order() })
            .unwrap();
        assert_eq!(again.router().policy.terms(Medium::Tor), LinkTerms::default());
        assert_eq!(again.router().policy.route(&reader.me(), None).node, Preference::Auto);
    }

    #[test]
    fn an_order_that_does_not_fit_together_changes_nothing() {
        let (mut owner, reader, _) = pair();
        let mut unicast = Unicast::new(&mut owner.core);
        let before = unicast.router().policy.clone();
        let (peer, preference) = (Some(did(&reader.me())), Some(Preference::TorOnly));
        let cases = [
            (order(), "bad_route"),
            (RouteOrder { peer: peer.clone(), doc: Some("list".into()), preference, ..order() }, "bad_route"),
            (RouteOrder { price: Some(1), ..order() }, "bad_route"),
            (RouteOrder { link: Some(Medium::Tor), preference, ..order() }, "bad_route"),
            (RouteOrder { link: Some(Medium::Memory), price: Some(1), ..order() }, "bad_route"),
            (RouteOrder { link: Some(Medium::Tor), only: Some("2-5".into()), ..order() }, "bad_route"),
            (RouteOrder { radio: Some("hill".into()), price: Some(1), ..order() }, "bad_route"),
            (
                RouteOrder {
                    radio: Some("hill".into()),
                    link: Some(Medium::Mesh),
                    price: Some(1),
                    ..order()
                },
                "bad_route",
            ),
            (RouteOrder { peer: Some("nobody".into()), preference, ..order() }, "unknown_peer"),
            (RouteOrder { doc: Some("nothing".into()), preference, ..order() }, "unknown_document"),
        ];
        for (order, code) in cases {
            let error = ordered(&mut unicast, &mut owner, &order).expect_err(code);
            assert_eq!(error.code(), code, "{order:?}");
        }
        assert_eq!(unicast.router().policy, before);
    }
}
