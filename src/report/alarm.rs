//! The sentences of alarms, for logs, `status` and `watch`.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::clock::rfc3339;
use crate::identity::did;
use crate::io::view::AlarmView;
use crate::io::{Alarm, StopReason};
use crate::limits::FUTURE_BOUND;
use crate::report::alarms::sentence;

impl Alarm {
    /// A stable label for programs: the `code` of `/v1` and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Alarm::KeyUsedElsewhere => "key_used_elsewhere",
            Alarm::OwnKeyHeard => "own_key_heard",
            Alarm::TwoMachines { .. } => "two_machines",
            Alarm::RemovedBy { .. } => "removed_by",
            Alarm::Fork { .. } => "fork",
            Alarm::NotSaved { .. } => "not_saved",
            Alarm::ReadOnly { .. } => "disk_full",
            Alarm::SteppedBack { .. } => "stepped_back",
            Alarm::Unconfirmed => "unconfirmed",
            Alarm::InviterSilent { .. } => "inviter_silent",
            Alarm::ClockDiffers => "clock_differs",
            Alarm::PeersClocksDiffer { .. } => "peers_clocks_differ",
            Alarm::ClockNotSet => "clock_not_set",
            Alarm::RadioUnusable { .. } => "radio_unusable",
            Alarm::RadioSilent { .. } => "radio_silent",
            Alarm::CatalogueDamaged { .. } => "catalogue_damaged",
            Alarm::OwnIdentityEnded => "own_identity_ended",
            Alarm::OwnKeyStolen { .. } => "own_key_stolen",
            Alarm::IdentityEnded { .. } => "identity_ended",
            Alarm::KeyStolen { .. } => "key_stolen",
            Alarm::Watched { report, .. } => report.subject.kind.label(),
            Alarm::ProbeFailed { .. } => "probe_failed",
        }
    }
}

impl Alarm {
    /// The peer about which the operator has to decide.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Alarm::IdentityEnded { peer } | Alarm::KeyStolen { peer, .. } | Alarm::RemovedBy { peer, .. } => {
                Some(peer)
            }
            Alarm::KeyUsedElsewhere
            | Alarm::OwnKeyHeard
            | Alarm::TwoMachines { .. }
            | Alarm::Fork { .. }
            | Alarm::NotSaved { .. }
            | Alarm::ReadOnly { .. }
            | Alarm::SteppedBack { .. }
            | Alarm::Unconfirmed
            | Alarm::InviterSilent { .. }
            | Alarm::ClockDiffers
            | Alarm::PeersClocksDiffer { .. }
            | Alarm::ClockNotSet
            | Alarm::RadioUnusable { .. }
            | Alarm::RadioSilent { .. }
            | Alarm::CatalogueDamaged { .. }
            | Alarm::OwnIdentityEnded
            | Alarm::OwnKeyStolen { .. }
            | Alarm::Watched { .. }
            | Alarm::ProbeFailed { .. } => None,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::KeyUsedElsewhere => write!(f, "{}", StopReason::KeyUsedElsewhere),
            Alarm::OwnKeyHeard => f.write_str(
                "a radio heard this node's own key from elsewhere: a restored backup, or a second machine with this key",
            ),
            Alarm::TwoMachines { peer } => write!(
                f,
                "two machines run with the key of {peer}, and take each other's links: one of them has to be stopped"
            ),
            Alarm::RemovedBy { peer, since } => write!(
                f,
                "{peer} has removed this node, or taken its rights: it has refused this node's key since {}",
                rfc3339(*since)
            ),
            Alarm::Fork { author, document } => write!(
                f,
                "{} signed two states of `{}` with one sequence: a copied disk or a restored backup",
                did(author),
                document.as_str()
            ),
            Alarm::NotSaved { why } => write!(f, "the last change was not saved: {why}"),
            Alarm::ReadOnly { why } => {
                write!(f, "this node can be read, not written: {why}. It goes on by itself when there is room")
            }
            Alarm::SteppedBack { commits } => write!(
                f,
                "the store lost its last {commits} commits although the disk had confirmed them: what this node wrote comes back \
                 from its peers, as far as it had reached one; check the disk"
            ),
            Alarm::Unconfirmed => f.write_str(
                "the store is newer than the key, so this node may have written what is not here: it signs nothing until a \
                 peer has answered what it holds",
            ),
            Alarm::InviterSilent { inviter, why } => write!(f, "{inviter} has not answered yet: {why}"),
            Alarm::ClockDiffers => write!(
                f,
                "this machine's clock differs from its peers' by more than {} minutes: set it",
                FUTURE_BOUND.ms() / 60_000
            ),
            Alarm::PeersClocksDiffer { synchronised } => write!(
                f,
                "the clocks of three or more peers differ from this machine's by more than {} minutes; this node goes by its own, which \
                 {}: `tombolo status` shows which peers",
                FUTURE_BOUND.ms() / 60_000,
                if *synchronised { "the kernel counts as synchronised" } else { "the settings vouch for" }
            ),
            Alarm::ClockNotSet => {
                f.write_str("this machine's clock is not set: set it, or run a time service")
            }
            Alarm::RadioUnusable { radio, why } => write!(f, "the radio {radio} cannot be used: {why}"),
            Alarm::RadioSilent { radio, why } => write!(f, "radio {radio}: {why}"),
            Alarm::CatalogueDamaged { why } => write!(f, "peers cannot have anything installed here: {why}"),
            Alarm::OwnIdentityEnded => f.write_str("this identity was ended by its own revocation"),
            Alarm::OwnKeyStolen { author } => {
                write!(f, "{author} reports the key of this node as stolen: ask its operator")
            }
            Alarm::IdentityEnded { peer } => write!(f, "{peer} has ended its identity"),
            Alarm::KeyStolen { author, peer } => write!(
                f,
                "{author} reports the key of {peer} as stolen: {peer} is suspended until the operator decides"
            ),
            Alarm::Watched { subject, by, report } => {
                write!(f, "{}. Reported by {}", sentence(report, subject), by.join(", "))
            }
            Alarm::ProbeFailed { probe, why } => write!(f, "{probe}: {why}"),
        }
    }
}

impl From<&Alarm> for AlarmView {
    fn from(alarm: &Alarm) -> Self {
        AlarmView { code: alarm.code(), message: alarm.to_string(), peer: alarm.peer().map(str::to_owned) }
    }
}

impl Serialize for Alarm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AlarmView::from(self).serialize(serializer)
    }
}
