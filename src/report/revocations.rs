//! Revocations: which identities are suspended or have ended, and which members do not know yet.

use tombolo_transports::PeerId;

use crate::clock::rfc3339;
use crate::commands::{HeldNotice, RevocationNotice, unaware};
use crate::identity::did;
use crate::io::{Alarm, view};
use crate::report::NodeReport;

impl NodeReport<'_> {
    /// The notices that this node holds, and which members have not confirmed them.
    pub fn revocations(&self) -> Vec<view::RevocationView> {
        let members: Vec<PeerId> = self.replica.federation().members().map(|peer| peer.id).collect();
        let view = |held: &HeldNotice| {
            let RevocationNotice { author, revoked, .. } = &held.notice;
            let unaware = unaware(held, &members);
            view::RevocationView {
                did: did(revoked),
                name: self.replica.name_of(self.core, revoked),
                by: did(author),
                by_name: self.replica.name_of(self.core, author),
                by_itself: held.notice.is_own(),
                signed_at: rfc3339(held.notice.time()),
                suspended: self.replica.federation().is_suspended(revoked),
                unaware: unaware.map(|peer| self.replica.name_of(self.core, &peer)).collect(),
            }
        };
        self.commands.notices.held().map(view).collect()
    }

    /// The notices about one identity.
    pub(crate) fn revocations_of(&self, revoked: &PeerId) -> Vec<view::RevocationView> {
        let did = did(revoked);
        let mut views = self.revocations();
        views.retain(|view| view.did == did);
        views
    }

    /// What a notice means for the operator.
    pub(crate) fn revocation_alarm(&self, notice: &RevocationNotice) -> Alarm {
        let name = |id: &PeerId| self.replica.name_of(self.core, id);
        let author = name(&notice.author);
        match (notice.revoked == self.core.me, notice.is_own()) {
            (true, true) => Alarm::OwnIdentityEnded,
            (true, false) => Alarm::OwnKeyStolen { author },
            (false, true) => Alarm::IdentityEnded { peer: name(&notice.revoked) },
            (false, false) => Alarm::KeyStolen { author, peer: name(&notice.revoked) },
        }
    }

    /// The alarms about identities whose revocation waits for the operator, or concerns this node.
    pub(crate) fn revocation_alarms(&self) -> Vec<Alarm> {
        let concerns = |held: &&HeldNotice| {
            let notice = &held.notice;
            let is_peer = self.replica.federation().peer(&notice.revoked).is_some();
            notice.revoked == self.core.me || (is_peer && !held.is_decided)
        };
        self.commands
            .notices
            .held()
            .filter(concerns)
            .map(|held| self.revocation_alarm(&held.notice))
            .collect()
    }
}
