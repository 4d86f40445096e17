//! `log`: what was refused and what happened, each as a sentence with its reason.

use tombolo_transports::PeerId;

use crate::clock::rfc3339;
use crate::core::{LogEntry, Logged};
use crate::identity::{did, parse_did};
use crate::io::{Event, view};
use crate::presence::PresenceChange;
use crate::report::{NodeReport, presence, rejection};
use crate::time::Wall;

/// An entry without its times.
struct LoggedView {
    kind: &'static str,
    code: String,
    peer: Option<PeerId>,
    message: String,
}

impl NodeReport<'_> {
    /// The log since the start, oldest entry first.
    pub fn log(&self) -> Vec<view::LogEntryView> {
        self.core.log.entries().map(|entry| self.log_entry(entry)).collect()
    }

    fn log_entry(&self, entry: &LogEntry) -> view::LogEntryView {
        let LoggedView { kind, code, peer, message } = match &entry.what {
            Logged::Rejection { why, from } => LoggedView {
                kind: "rejection",
                code: why.label(),
                peer: *from,
                message: rejection::sentence(*why),
            },
            Logged::Event(event) => self.logged_event(event),
            Logged::Presence(change) => self.logged_presence(change, entry.last),
        };
        view::LogEntryView {
            id: entry.id,
            at: rfc3339(entry.last),
            first_at: rfc3339(entry.first),
            times: entry.times,
            kind,
            code,
            peer: peer.as_ref().map(|peer| self.name_of(peer)),
            did: peer.as_ref().map(did),
            message,
        }
    }

    fn logged_event(&self, event: &Event) -> LoggedView {
        match event {
            Event::Link(link) => {
                let over = presence::by_medium(&link.medium);
                let (code, message) = match link.up {
                    true => ("link_up", format!("a link {over} is up")),
                    false => ("link_down", format!("the link {over} is down")),
                };
                let peer = parse_did(&link.peer).ok();
                LoggedView { kind: "link", code: code.to_owned(), peer, message }
            }
            Event::Alarm(alarm) => LoggedView {
                kind: "alarm",
                code: alarm.code().to_owned(),
                peer: None,
                message: alarm.to_string(),
            },
            Event::Deploy(deploy) => LoggedView {
                kind: "deploy",
                code: deploy.status.to_owned(),
                peer: parse_did(&deploy.peer_did).ok(),
                message: format!(
                    "the deploy of {} ({}, {}) is {}",
                    deploy.app_id,
                    deploy.deploy_id,
                    deploy.direction,
                    deploy.status.replace('_', " ")
                ),
            },
            Event::Presence(presence) => LoggedView {
                kind: "presence",
                code: presence.presence.state.to_owned(),
                peer: parse_did(&presence.peer).ok(),
                message: presence.presence.why.clone(),
            },
            // These are not kept in the log.
            Event::Changed(_) | Event::Ended(_) | Event::PeersChanged | Event::JoiningChanged { .. } => {
                LoggedView {
                    kind: "changed",
                    code: "changed".to_owned(),
                    peer: None,
                    message: "the list of peers, of invites or a document changed".to_owned(),
                }
            }
        }
    }

    fn logged_presence(&self, change: &PresenceChange, at: Wall) -> LoggedView {
        // As it was then: an age that goes on would belie the one beside it.
        let drawn = self.core.now() - self.core.reference().since(at);
        let view = self.presence_at(&change.now, drawn);
        let before = change.before.map(|before| format!("{}, was {}", view.state, before.word()));
        let words = before.unwrap_or_else(|| view.state.to_owned());
        LoggedView {
            kind: "presence",
            code: view.state.replace(' ', "_"),
            peer: Some(change.peer),
            message: format!("{words}: {}", view.why),
        }
    }
}
