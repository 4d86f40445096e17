//! What goes into a `Node` and what comes out: the whole surface between the sans-io core and its driver (the runtime, the
//! command line without a running node, the simulation). Views are the JSON of replies; nothing here is ever sent to a peer.
//!
//! The order is always: `handle_input` one or more times, then `poll_output` until it is empty, then
//! `poll_timeout`. The first `poll_output` after an input makes everything durable that the inputs
//! changed, in one commit, before it yields anything: so nothing is acknowledged or sent before it is on
//! disk, and inputs handled together share one commit.

mod alarm;
mod call;
mod command;
mod error;
mod message;
mod partial;
mod radio;
mod sensor;
mod state;
pub mod view;

use serde::Serialize;
use tombolo_delta::Value;
use tombolo_transports::radio::RadioDownReason;
use tombolo_transports::{Address, DownReason, JoinError, JoinSecret, LinkCaps, LinkId, LinkReport, PeerId};

pub use alarm::{Alarm, JoinFailure};
pub use call::{CallFailure, CallId, CallReply, IncomingCall, OutgoingCall};
pub use command::{Admin, Command, FederationRecords, Query, Write};
pub use error::{BadNameReason, BadRoute, CommandError, Quota, ReadOnlyReason, StopReason, ValueError};
pub use message::AlarmMessage;
pub use partial::PartialReply;

use crate::commands::{CatalogueState, CommandKey, Deploy, RunResult};
use crate::watches::{AlarmMessageKey, DeliveryEnd};
pub use radio::RadioSpec;
pub use sensor::{
    SENSOR_NAME_BYTES_MAX, SENSOR_TEXT_BYTES_MAX, SENSORS_MAX, Sensor, SensorError, SensorValue, Sensors,
};
pub use state::{App, AppHealth, AppStatus, NodeState};

/// Names a local request, so that its reply finds the way back. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened to the node. A driver matches it and [`Output`] in full, so neither is `#[non_exhaustive]`.
#[derive(Debug)]
pub enum Input {
    /// Time has passed: `poll_timeout` is due. Any other input does as well.
    Timeout,
    /// The driver ends the node in order: what waits for the disk is written with the next commit.
    Ending,
    /// An authenticated link to a peer is up.
    LinkUp {
        /// The link that came up.
        link: LinkId,
        /// The identity that TLS (or the frame layer) proved at its far end.
        peer: PeerId,
        /// What the link can do.
        caps: LinkCaps,
    },
    /// A link is gone.
    LinkDown {
        /// The link that is gone.
        link: LinkId,
        /// Why the link has ended.
        why: DownReason,
    },
    /// A peer that was dialled and proved its key does not take this node.
    Denied {
        /// The peer that this concerns.
        peer: PeerId,
    },
    /// A link has measured its path.
    LinkMeasured {
        /// The link that was measured.
        link: LinkId,
        /// The figures that the link has measured.
        report: LinkReport,
    },
    /// A whole message came over a link.
    Received {
        /// The link that the message came over.
        link: LinkId,
        /// The message as the peer sent it; hostile.
        bytes: Vec<u8>,
    },
    /// A stranger, whose key TLS proved, asks to redeem an invite.
    JoinRequest {
        /// Pairs this request with its answer.
        request: RequestId,
        /// The joiner's proven key.
        peer: PeerId,
        /// Where it called from: kept as an address to dial later.
        address: Option<Address>,
        /// The request as the joiner sent it; hostile.
        bytes: Vec<u8>,
    },
    /// The answer to this node's own `Output::DialJoin`, or why there is none.
    JoinAnswered {
        /// The inviter that was called.
        inviter: PeerId,
        /// Its answer as it sent it; hostile.
        result: Result<Vec<u8>, JoinError>,
    },
    /// A radio's device is there; at first, the radio is new.
    RadioUp {
        /// Names the radio, as long as the node runs.
        link: LinkId,
        /// What it is and may do.
        spec: Box<RadioSpec>,
    },
    /// A radio's device is gone; it may come back.
    RadioDown {
        /// The radio whose device is gone.
        link: LinkId,
        /// The reason of the driver.
        why: RadioDownReason,
    },
    /// A radio takes the next frame.
    RadioReady {
        /// The radio that takes a frame.
        link: LinkId,
    },
    /// A radio received a frame.
    Frame {
        /// The radio that received it.
        link: LinkId,
        /// The frame, from any sender; hostile.
        bytes: Vec<u8>,
    },
    /// A local request: a write, an administrative change or a query.
    Command {
        /// Pairs the request with its reply.
        request: RequestId,
        /// The command that is requested.
        command: Command,
    },
    /// A JSON call arrived.
    Call {
        /// Pairs the call with its answer.
        request: RequestId,
        /// Its headers and body; hostile.
        call: IncomingCall,
    },
    /// The answer to this node's own `Output::DialCall`, or why there is none.
    CallAnswered {
        /// The call that it answers.
        id: CallId,
        /// Its answer as it sent it; hostile.
        result: Result<CallReply, CallFailure>,
    },
    /// An install that `Output::Install` began has ended.
    Installed {
        /// The command that it was for.
        key: CommandKey,
        /// How the program ended.
        result: RunResult,
    },
    /// The operator's catalogue was read again.
    Catalogue(CatalogueState),
    /// A try to hand over a message that `Output::Notify` began has ended.
    Notified {
        /// The message that it was.
        key: AlarmMessageKey,
        /// How the try to hand it over has ended.
        end: DeliveryEnd,
    },
    /// The distance from UTC to local time, for quiet hours.
    UtcOffset {
        /// Minutes; east of Greenwich they are more than 0.
        minutes: i32,
    },
    /// The kernel counts the clock of this machine as synchronised from now on, or does so no more.
    ClockSynchronised(bool),
}

/// Something the node wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few wait at a time, and each is moved once")]
pub enum Output {
    /// Send a message on a link.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The message in its encoded form.
        bytes: Vec<u8>,
    },
    /// Give a radio one frame. The driver reports `RadioReady` when it takes another.
    Frame {
        /// The radio to give it to.
        link: LinkId,
        /// The frame, sealed and with its header.
        bytes: Vec<u8>,
    },
    /// Close a link: its peer was removed or is no longer trusted.
    Close {
        /// The link to close.
        link: LinkId,
    },
    /// The answer to a `JoinRequest`; the join connection can be closed after it.
    JoinAnswer {
        /// The `JoinRequest` that it answers.
        request: RequestId,
        /// The bytes to send to the joiner.
        bytes: Vec<u8>,
    },
    /// Call an inviter on `tombolo-join/1`, send it these bytes, return its answer as `JoinAnswered`.
    DialJoin {
        /// The inviter to call; the far end must prove this key.
        inviter: PeerId,
        /// Where it may be.
        addresses: Vec<Address>,
        /// What the code makes both ends know, for carriers that hide the inviter.
        secret: JoinSecret,
        /// The signed request to send.
        bytes: Vec<u8>,
    },
    /// The reply to a `Command`.
    Reply {
        /// The request that it answers.
        request: RequestId,
        /// The reply, or why the command was not carried out.
        result: Result<Reply, CommandError>,
    },
    /// A change that watchers are informed of.
    Event(Event),
    /// The answer to a `Call`.
    CallAnswer {
        /// The `Call` that it answers.
        request: RequestId,
        /// Status and body to send.
        reply: CallReply,
    },
    /// Call a peer's onion service, return its answer as `CallAnswered`.
    DialCall {
        /// Pairs the call with its answer.
        id: CallId,
        /// The peer that is called.
        peer: PeerId,
        /// Where, with which headers and body, and how long.
        call: Box<OutgoingCall>,
    },
    /// Run the operator's command for a deploy; its end comes back as `Installed`. The record that it was taken is on disk.
    Install {
        /// The command that it is for.
        key: CommandKey,
        /// The words that fill the operator's template.
        deploy: Deploy,
    },
    /// Hand a message to the operator; its end comes back as `Notified`. The record that it was taken is on disk.
    Notify {
        /// The message that it is.
        key: AlarmMessageKey,
        /// The text that the operator gets.
        message: Box<AlarmMessage>,
    },
}

/// The answer to a command. Serialises to the JSON that `--json` prints and `/v1` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// The reply to `Query::Id`.
    Id(view::IdView),
    /// The reply to `Admin::Invite`.
    Invite(view::InviteView),
    /// The reply to `Query::Invites`.
    Invites(Vec<view::OutgoingInviteView>),
    /// The reply to `Admin::WithdrawInvite`: the invite that works no more.
    Withdrawn(view::OutgoingInviteView),
    /// The reply to `Query::Document`.
    Document(view::VersionedView),
    /// The reply to `Write::Delete`.
    Deleted(view::DeletedView),
    /// The reply to `Admin::Join`: the inviter, as a peer.
    Joined(Box<view::PeerView>),
    /// The reply to `Admin::Trust`, `Admin::Rename` and `Admin::Dial`: the peer as it now is.
    Peer(Box<view::PeerView>),
    /// The reply to `Query::Peers`.
    Peers(Vec<view::PeerView>),
    /// The reply to `Admin::Remove`.
    Removed(view::RemovedView),
    /// The reply to `Create`, `Set`, `Del`, `Put`: the document after the write.
    Written(view::WrittenView),
    /// The reply to `Query::Get`: the value itself.
    Value(Value),
    /// The reply to `Query::List`.
    Documents(Vec<view::DocumentView>),
    /// One of `Query::Get`, `Query::Document` and `Query::List` about many keys: [`Reply::complete`] puts it together.
    #[serde(skip)]
    Partial(Box<PartialReply>),
    /// The reply to `Query::State` and `Admin::FetchState`.
    State(Box<view::StateView>),
    /// The reply to `Write::PublishState`.
    Published(view::PublishedView),
    /// The reply to `Query::Status`.
    Status(Box<view::StatusView>),
    /// The reply to `Admin::Policy`.
    Policy(view::PolicyView),
    /// The reply to `Query::Links`.
    Links(Vec<view::LinkView>),
    /// The reply to `Admin::WriteBundle`.
    Bundle(view::BundleView),
    /// The reply to `Admin::ReadBundle`.
    BundleRead(view::BundleReadView),
    /// The reply to `Query::Ping`.
    Ping(view::PingView),
    /// The reply to `Query::Why`.
    Why(Vec<view::WhyView>),
    /// The reply to `Admin::Route` and `Query::Routes`.
    Routes(Vec<view::RouteRowView>),
    /// The reply to `Query::Airtime`.
    Airtime(Vec<view::AirtimeView>),
    /// The reply to `Query::Hearing`.
    Hearing(Vec<view::HearingView>),
    /// The reply to `Query::Layers`.
    Layers(Vec<view::LayerView>),
    /// The reply to `Query::Conflicts`.
    Conflicts(Vec<view::ConflictView>),
    /// The reply to `Admin::Adopt`.
    Adopted(view::AdoptedView),
    /// The reply to `Admin::Deploy`, and to `Query::Deploys` about one.
    Deploy(Box<view::DeployView>),
    /// The reply to `Query::Deploys` about all.
    Deploys(Vec<view::DeployView>),
    /// The reply to `Admin::Revoke`, `Admin::RevokeOwn` and `Query::Revocations`.
    Revocations(Vec<view::RevocationView>),
    /// The reply to `Query::Log`, the newest entry last.
    Log(Vec<view::LogEntryView>),
    /// The reply to `Query::Alarms`, and to `Admin::AcknowledgeAlarm` about the one.
    Alarms(Vec<view::RaisedAlarmView>),
    /// The reply to `Query::Watches`, and to `Admin::WatchFor` and `Admin::Unwatch` about the one.
    Watches(Vec<view::WatchView>),
}

/// Something that changed, for `watch` and for drivers that keep lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A document reads differently now.
    Changed(view::ChangedView),
    /// A document is gone: its owner has ended it, or it was deleted here.
    Ended(view::EndedView),
    /// The list of peers, a level or an address changed. The driver renews its allow-list from
    /// `NodeReport::dialable_peers`.
    PeersChanged,
    /// The open invites changed; the driver answers `tombolo-join/1` for those of `Node::join_secrets`.
    JoiningChanged {
        /// Whether one is open.
        open: bool,
    },
    /// A link to a peer came up or went down.
    Link(view::LinkEventView),
    /// A condition that a person should look at.
    Alarm(Alarm),
    /// A deploy, sent or received, has come further.
    Deploy(view::DeployEventView),
    /// A peer is heard better or worse: it is overdue, its link is lost, it is gone, or it is back.
    Presence(Box<view::PresenceEventView>),
}
