//! What the operator has set for the router: the settings of the file, and what was changed while running.

use crate::identity::did;
use crate::io::view::RouteRowView;
use crate::report::NodeReport;
use crate::router::RouteSettings;

impl NodeReport<'_> {
    /// Each setting once: what was changed stands in place of what the file has.
    pub fn routes(&self) -> Vec<RouteRowView> {
        let policy = &self.unicast.router().policy;
        let mut rows = self.rows_of(policy.changed(), "command");
        for row in self.rows_of(policy.configured(), "file") {
            let is_same =
                |other: &RouteRowView| (other.of, &other.name, &other.did) == (row.of, &row.name, &row.did);
            if !rows.iter().any(is_same) {
                rows.push(row);
            }
        }
        rows.sort_by(|a, b| (rank(a.of), &a.name, &a.did).cmp(&(rank(b.of), &b.name, &b.did)));
        rows
    }

    fn rows_of(&self, settings: &RouteSettings, set_by: &'static str) -> Vec<RouteRowView> {
        let row = |of, name| RouteRowView { of, name, did: None, preference: None, terms: None, set_by };
        let node = settings
            .node
            .map(|preference| RouteRowView { preference: Some(preference), ..row("node", String::new()) });
        let peers = settings.peers.iter().map(|(peer, preference)| RouteRowView {
            did: Some(did(peer)),
            preference: Some(*preference),
            ..row("peer", self.name_of(peer))
        });
        let documents = settings.documents.iter().flat_map(|(name, of_name)| {
            of_name.iter().map(move |(owner, preference)| RouteRowView {
                did: owner.as_ref().map(did),
                preference: Some(*preference),
                ..row("document", name.clone())
            })
        });
        let terms = settings
            .terms
            .iter()
            .map(|(medium, terms)| RouteRowView { terms: Some(*terms), ..row("link", medium.to_string()) });
        let radios = settings
            .radios
            .iter()
            .map(|(name, terms)| RouteRowView { terms: Some(*terms), ..row("radio", name.clone()) });
        node.into_iter().chain(peers).chain(documents).chain(terms).chain(radios).collect()
    }
}

fn rank(of: &str) -> usize {
    ["node", "peer", "document", "link", "radio"].iter().position(|other| *other == of).unwrap_or(usize::MAX)
}
