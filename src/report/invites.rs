//! The invites that this node gave out.

use tombolo_transports::PeerId;

use crate::clock::rfc3339;
use crate::federation::invite::OutgoingInvite;
use crate::identity::did;
use crate::io::view::OutgoingInviteView;
use crate::report::NodeReport;

impl NodeReport<'_> {
    /// Those that have not expired, oldest first.
    pub fn invites(&self) -> Vec<OutgoingInviteView> {
        let now = self.core.reference();
        let mut invites: Vec<_> = self.membership.outgoing().filter(|i| i.expires > now).collect();
        invites.sort_by_key(|invite| (invite.created_at, invite.token_hash));
        invites.into_iter().map(Self::invite).collect()
    }

    /// One open invite, as `invites` shows it.
    pub fn invite(invite: &OutgoingInvite) -> OutgoingInviteView {
        OutgoingInviteView {
            id: invite.id(),
            level: invite.level,
            created_at: rfc3339(invite.created_at),
            expires: rfc3339(invite.expires),
            accepted: invite.accepted.map(|(by, _)| did(&PeerId(by))),
        }
    }
}
