//! What a node shows of itself: the shapes behind `--json` and `/v1`. Field names are a promise.

mod adopt;
mod airtime;
mod commands;
mod documents;
mod id;
mod links;
mod peers;
mod status;
mod why;

pub use adopt::{AdoptedListView, AdoptedRecordView, AdoptedView, RefusedRecordView};
pub use airtime::{AirtimeRow, AirtimeView, PeerAirtimeRow, PriorityAirtimeRow};
pub use commands::{DeployEventView, DeployView, RevocationView};
pub use documents::{ChangedView, ConflictView, DocumentView, PolicyView, PublishedView, WrittenView};
pub use id::{IdView, InviteView};
pub use links::{ALL_WHO_LISTEN, LinkEventView, LinkFailureView, LinkView, ONION_SERVICE, TransferView};
pub use peers::{PeerView, RemovedView, StateView, StepView};
pub use status::{
    AlarmView, PeerClockView, PeerStatusView, StatusView, TombstoneWaitView, TorView, TrafficView,
};
pub use why::{CandidateView, RouteOrder, RouteRowView, WhyView};
