//! What a node shows of itself: the shapes behind `--json` and `/v1`. Field names are a promise.

mod adopt;
mod airtime;
mod alarms;
mod bundles;
mod commands;
mod documents;
mod id;
mod links;
mod log;
mod peers;
mod presence;
mod status;
mod why;

pub use adopt::{AdoptedListView, AdoptedRecordView, AdoptedView, RefusedRecordView};
pub use airtime::{AirtimeRow, AirtimeView, PeerAirtimeRow, PriorityAirtimeRow};
pub use alarms::{AlarmMessageView, RaisedAlarmView, WATCH_OF_COMMAND, WATCH_OF_SETTINGS, WatchView};
pub use bundles::{BundleChangeView, BundlePeerView, BundleReadView, BundleView};
pub use commands::{DeployEventView, DeployView, RevocationView};
pub use documents::{
    ChangedView, ConflictView, DeletedScope, DeletedView, DocumentView, EndedView, LayerView, PolicyView,
    PublishedView, VersionedView, WrittenView,
};
pub use id::{IdView, InviteView, OutgoingInviteView};
pub use links::{
    ALL_WHO_LISTEN, LinkEventView, LinkFailureView, LinkView, NO_LINK, ONION_SERVICE, PingLinkView, PingView,
    TransferView,
};
pub use log::LogEntryView;
pub use peers::{PeerView, RemovedView, StateView, StepView};
pub use presence::{FriendsView, HearingView, HearsUsView, PresenceEventView, PresenceView};
pub use status::{
    AlarmView, AppsView, ConvergenceView, DocumentLagView, LargeLayerView, PeerClockView, PeerRouteView,
    PeerStatusView, RadioStatusView, StatusView, TombstoneWaitView, TorView, TrafficView,
};
pub use why::{CandidateView, RouteOrder, RouteRowView, WhyView};
