//! How Tor stands, as `status` and `links` show it.

use std::collections::BTreeMap;

use tombolo_transports::tor::{ServiceState, TorReport};
use tombolo_transports::{Medium, TorStatus};

use crate::identity::did;
use crate::io::view::{LinkView, ONION_SERVICE, TorView};

/// Whether Tor serves this node; `None` where it was not asked for and is not there.
#[cfg(feature = "cli")]
pub(super) fn is_active(tor: &TorStatus) -> Option<bool> {
    let report = tor.report();
    let serves = matches!(report.service, ServiceState::Published { .. } | ServiceState::Fixed);
    is_shown(tor, &report).then_some(serves && report.local.is_none())
}

/// What `status` shows, if there is anything to show.
pub(super) fn view(tor: &TorStatus) -> Option<TorView> {
    let report = tor.report();
    is_shown(tor, &report).then(|| TorView {
        onion: tor.onion().to_string(),
        socks: tor.socks().to_string(),
        service: report.service.to_string(),
        problem: report.local.as_ref().map(ToString::to_string),
    })
}

/// Adds a row for the onion service, and one for each peer that was not reached through Tor.
pub(super) fn add_links(tor: &TorStatus, rows: &mut Vec<LinkView>) {
    let report = tor.report();
    if !is_shown(tor, &report) {
        return;
    }
    let up = matches!(report.service, ServiceState::Published { .. } | ServiceState::Fixed);
    let why = match &report.local {
        Some(failure) => failure.to_string(),
        None => format!("{}: {}", tor.onion(), report.service),
    };
    let state = if up && report.local.is_none() { "up" } else { "down" };
    let link = Medium::Tor.to_string();
    let linked: Vec<String> = rows.iter().filter(|row| row.link == link).map(|row| row.did.clone()).collect();
    let names: BTreeMap<String, String> =
        rows.iter().map(|row| (row.did.clone(), row.peer.clone())).collect();
    rows.push(LinkView {
        peer: ONION_SERVICE.to_owned(),
        link: link.clone(),
        state,
        why,
        ..LinkView::default()
    });
    // What keeps every peer from being reached stands in the row of the service.
    let failures = report.failures.into_iter().filter(|(_, failure)| !failure.is_local());
    for (peer, failure) in failures {
        let did = did(&peer);
        if let Some(name) = names.get(&did).filter(|_| !linked.contains(&did)) {
            let (peer, why) = (name.clone(), failure.to_string());
            rows.push(LinkView { peer, did, link: link.clone(), state: "down", why, ..LinkView::default() });
        }
    }
}

/// A machine without tor, whose operator never asked for it, has nothing to show.
fn is_shown(tor: &TorStatus, report: &TorReport) -> bool {
    let absent = matches!(report.service, ServiceState::Starting | ServiceState::NoControl { .. });
    tor.is_asked_for() || !absent || !report.failures.values().all(|failure| failure.is_local())
}
