//! Every quota of a node in one place: what the number is, why, and what happens when it is reached.
//!
//! Limits that decide whether a layer is *accepted* are part of the format: two honest nodes must never
//! differ in them. They stand first and are never settings. Local limits follow; reaching one drops a
//! whole thing, visibly (a counter with its reason in `status`), never a part of it.

use crate::time::{Millis, Wall};

// ---- constants of the format -------------------------------------------------------------------------

/// Canonical CBOR of a snapshot, bytes. A larger one is refused by its author and by every reader.
pub const SNAPSHOT_BYTES_MAX: usize = 256 * 1024;
/// Canonical CBOR of one map entry, bytes.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Entries in one map layer.
pub const MAP_ENTRIES_MAX: usize = 262_144;
/// Canonical CBOR of all the entries of one map layer, bytes.
pub const LAYER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Canonical CBOR of one bucket of a map layer, bytes: a bucket is the least that travels. Reaching it by
/// chance takes a document many times its own limit.
pub const BUCKET_BYTES_MAX: usize = 512 * 1024;
/// Nesting of a value, and segments in a key.
pub const DEPTH_MAX: usize = 64;
/// Bytes of one key segment.
pub const SEGMENT_BYTES_MAX: usize = 1024;
/// Bytes of a document's name.
pub const NAME_BYTES_MAX: usize = 64;
/// A sequence stays below 2^53, so that any JSON reader can hold it.
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;
/// The milliseconds of a stamp fit 48 bits (the year 10889).
pub const STAMP_MAX: Wall = Wall::from_ms((1 << 48) - 1);

// ---- what one node keeps -----------------------------------------------------------------------------

/// Documents of one owner that are held. One more is refused (`quota`).
pub const DOCUMENTS_PER_OWNER_MAX: usize = 1_000;
/// Peers of one node. One more cannot be invited or joined.
pub const PEERS_MAX: usize = 1_000;
/// Open invites at once. One more is refused until some are used or have expired.
pub const INVITES_OPEN_MAX: usize = 100;
/// Bytes that each layer counts beside its content, for what is kept with it.
pub const LAYER_OVERHEAD_BYTES: usize = 1024;
/// Bytes of layers that one owner's documents may take here, as canonical CBOR. A layer that would cross it is refused whole.
pub const OWNER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that one owner's documents may take in memory, with their indexes and older states, as estimated. A layer that would
/// cross it is refused whole. The largest layer of the format fits; only many small entries take more than twice their CBOR.
pub const OWNER_MEMORY_MAX: usize = 2 * OWNER_BYTES_MAX;
/// Older states kept per snapshot layer, as bases for deltas. The oldest goes first.
pub const STATES_KEPT_MAX: usize = 16;
/// Bytes of those older states per layer.
pub const STATES_KEPT_BYTES_MAX: usize = 256 * 1024;
/// Sequence and root pairs remembered per map layer: bases that a peer may name. The oldest goes first.
pub const MAP_BASES_KEPT_MAX: usize = 64;
/// States remembered per own map layer, as 4 bytes of their root each: they distinguish its own past
/// from that of a restored copy. The oldest goes first; a state older than all of them is taken for its own.
pub const OWN_STATES_KEPT_MAX: u64 = 65_536;
/// Keys remembered as dropped per map layer. One more, and all are forgotten, with the bases before them.
pub const DROPPED_KEYS_KEPT_MAX: usize = 1_024;
/// Bytes that those keys take in memory. One more, and all are forgotten likewise.
pub const DROPPED_KEYS_BYTES_MAX: usize = 256 * 1024;
/// After the first answer of a peer, how long further ones are waited for before a node whose store is newer than its key signs:
/// a long frontier comes in several messages.
pub const CONFIRM_PAUSE: Millis = Millis::from_secs(3);
/// The same at most, where what the peers show does not come: a false claim must not silence a node.
pub const CONFIRM_WAIT_MAX: Millis = Millis::from_secs(120);
/// How often such a node looks whether it is complete.
pub const CONFIRM_LOOK: Millis = Millis::from_secs(1);
/// How long the alarm about lost commits stays after a peer has answered, so that an operator sees it.
pub const SETBACK_SHOWN: Millis = Millis::from_secs(86_400);
/// Fork evidence kept per author: pairs of signed heads. Later ones are counted only.
pub const FORKS_KEPT_PER_AUTHOR_MAX: usize = 8;

// ---- time --------------------------------------------------------------------------------------------

/// An entry this far ahead of reference time does not take part in the merge until then.
pub const FUTURE_BOUND: Millis = Millis::from_secs(10 * 60);
/// A peer's clock counts for a day after it was heard.
pub const CLOCK_HEARD: Millis = Millis::from_secs(24 * 60 * 60);
/// A writer signs its layer again this often while tombstones wait for it.
pub const TOMBSTONE_RENEW: Millis = Millis::from_secs(30 * 24 * 60 * 60);
/// How often tombstones and beaten entries are looked through.
pub const TOMBSTONE_SWEEP: Millis = Millis::from_secs(60 * 60);

// ---- sync --------------------------------------------------------------------------------------------

/// One message to a neighbour, bytes. A longer one is refused before it is read.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// A bundle that is carried by hand, bytes. A longer one is refused; layers that do not fit wait for the next.
pub const BUNDLE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Peers that one bundle is for.
pub const BUNDLE_PEERS_MAX: usize = 64;
/// Longest compact delta of a map. A receiver applies it before it can check the signature.
pub const COMPACT_MAP_BYTES_MAX: usize = 128 * 1024;
/// A compact map delta has at most so many changes: where more has changed, the layer goes whole or in parts, whose root is
/// proved before they are worked on.
pub const COMPACT_CHANGES_MAX: usize = 4_096;
/// Bytes of failed proofs behind which a peer is slowed.
pub const FAILED_PROOFS_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of failed proofs, and of what a slowed peer goes on sending, behind which its session is closed.
pub const FAILED_PROOFS_CUT_BYTES: u64 = 1024 * 1024;
/// So many of these bytes wear off in a second.
pub const FAILED_PROOF_BYTES_PER_S: u64 = 4 * 1024;
/// Messages of a slowed peer up to this length are looked at: heartbeats, questions and frontiers of a few layers.
pub const UNPROVEN_FREE_BYTES: usize = 512;
/// A layer whose content is larger than this travels in parts.
pub const WHOLE_LAYER_BYTES_MAX: usize = 512 * 1024;
/// Bytes of bucket parts in one answer of a transfer.
pub const PARTS_BYTES_MAX: usize = 128 * 1024;
/// Bytes that the parts in one answer of a transfer take as CBOR.
pub const PARTS_UNPACKED_MAX: usize = 1024 * 1024;
/// Entries below a node that are asked for at once where none of them is held.
pub const GROUP_ENTRIES_MAX: u32 = 2_048;
/// Entries that are held, of one bucket, which a question for parts names.
pub const HELD_ENTRIES_MAX: usize = 1_024;
/// Hash nodes or buckets asked for in one message of a transfer.
pub const TRANSFER_ASK_MAX: usize = 256;
/// Bytes that verified parts waiting for the rest of their layer take in memory, in all: the largest layer fits. When reached, the
/// peer that holds most of them loses the transfer that moved least recently, which starts again.
pub const TRANSFER_MEMORY_MAX: usize = OWNER_MEMORY_MAX;
/// Own refusals that are remembered. When reached, those that have run out are forgotten; a further one
/// is then sent but not remembered.
pub const REFUSALS_KEPT_MAX: usize = 4_096;
/// Large layers on their way here at a time. For one more, the peer that holds most places gives up the one that moved least
/// recently, if it holds more than the newcomer; else the newcomer waits until it is offered again.
pub const TRANSFERS_MAX: usize = 64;
/// A transfer that has not moved for so long gives way to any other, where there is no place.
pub const TRANSFER_QUIET: Millis = Millis::from_secs(30);
/// A transfer that has not moved for so long is given up.
pub const TRANSFER_STALE: Millis = Millis::from_secs(10 * 60);
/// Digits of a document's version that a write has to name.
pub const VERSION_CHARS_MIN: usize = 16;
/// Documents of peers that may be forgotten here. One more is refused.
pub const FORGOTTEN_MAX: usize = 1_000;
/// Layers named in one frontier, want or refusal; more go into a further message.
pub const FRONTIER_ENTRIES_MAX: usize = 4_096;
/// Layers a peer's frontier may name in all. More are not remembered.
pub const PEER_FRONTIER_MAX: usize = 65_536;
/// Base candidates tried for one compact envelope: prints are short, the signature decides.
pub const BASE_CANDIDATES_MAX: usize = 4;
/// The same for one that came by radio: it does not name its layer, and all empty layers have one root. Where more
/// of a channel's layers share a root, the layer goes out whole.
pub const BASE_CANDIDATES_ON_AIR_MAX: usize = 32;
/// Where an owner has more layers, deltas on air name their bases by two bytes of the root, else by one.
pub const SHORT_PRINT_LAYERS_MAX: usize = 16;
/// Layers wanted because one peer reported them. More are taken up when some have come.
pub const WANTS_MAX: usize = 1_024;
/// Heartbeat on an idle link.
pub const HEARTBEAT: Millis = Millis::from_secs(15);
/// Relayed news are gathered this long before neighbours are notified.
pub const NOTICE_DELAY: Millis = Millis::from_ms(20);
/// How long a node waits for the author's own push before it asks a relay.
pub const WANT_DELAY: Millis = Millis::from_ms(60);
/// First wait before a want is asked again; doubled each time.
pub const WANT_RETRY: Millis = Millis::from_secs(1);
/// Times a want is asked; after that the next heartbeat starts again.
pub const WANT_TRIES_MAX: u32 = 6;
/// A refusal for want of room holds back that layer for so long, on both sides. One for want of rights holds
/// until rights change.
pub const REFUSAL_HOLD: Millis = Millis::from_secs(10 * 60);
/// Full frontiers answered to one peer per minute. Further requests wait for the next minute.
pub const FRONTIER_ANSWERS_PER_MINUTE_MAX: u32 = 120;

// ---- radio -------------------------------------------------------------------------------------------

/// One message on a radio, bytes. A layer that is longer even when packed does not go over the radio.
pub const RADIO_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Radios of one node. One more is refused.
pub const RADIOS_MAX: usize = 8;
/// Fastest heartbeat on a radio; a slow radio has it less often, so that upkeep stays small.
pub const RADIO_HEARTBEAT: Millis = Millis::from_secs(10 * 60);
/// Heartbeats on a radio take at most this part of the time: one thousandth each way.
pub const RADIO_HEARTBEAT_SHARE: u64 = 1_000;

// ---- own layers elsewhere ----------------------------------------------------------------------------

/// Writes to a document wait so long for a newer state of an own layer that a peer reports; then they
/// go on above the one held. The two are joined when the newer one comes.
pub const OWN_STATE_WAIT: Millis = Millis::from_secs(10);
/// The longest such wait where the peer is met by radio: there it is 64 times what a short frame takes. Shorter than
/// the command line waits for an answer.
pub const OWN_STATE_WAIT_ON_AIR_MAX: Millis = Millis::from_secs(25);
/// After such a wait, writes to that document do not wait again for so long: a peer may lie about it.
pub const OWN_STATE_TRUST: Millis = Millis::from_secs(60 * 60);
/// Writes that wait so at a time. One more is refused.
pub const WAITING_WRITES_MAX: usize = 256;
/// A local write that sets or deletes more keys is done in slices of at most so many, each a commit, so that nothing waits long behind
/// one.
pub const SLICE_KEYS_MAX: usize = 5_000;
/// Writes in slices that are under way at a time; one after the other is done. One more is refused.
pub const LONG_WRITES_MAX: usize = 64;
/// Keys that are looked at in one turn for the answer to a question about all of a document.
pub const ANSWER_KEYS_MAX: usize = 4_096;
/// A peer is not sent an own layer for so long while it is asked for a state of it that is unknown here.
pub const RECLAIM_WAIT: Millis = Millis::from_secs(10);
/// The same on air, where all who listen are sent nothing of that layer meanwhile; once in `OWN_STATE_TRUST`.
pub const RECLAIM_WAIT_ON_AIR: Millis = Millis::from_secs(10 * 60);
/// States of own layers that were asked for, remembered so that each is asked for once. Reaching it
/// forgets them all.
pub const RECLAIMED_KEPT_MAX: usize = 4_096;

// ---- joining -----------------------------------------------------------------------------------------

/// Length of an invite code as text. A longer one is refused unread.
pub const INVITE_TEXT_MAX: usize = 4_096;
/// Longest life of an invite: 30 days.
pub const INVITE_EXPIRES_MAX: Millis = Millis::from_secs(30 * 24 * 60 * 60);
/// Addresses carried in one invite.
pub const INVITE_ADDRESSES_MAX: usize = 8;
/// A join request or answer, bytes.
pub const JOIN_BYTES_MAX: usize = 4_096;
/// Wrong tokens per minute, over all callers; further ones are rate-limited. A right one is always taken.
pub const JOIN_FAILURES_PER_MINUTE_MAX: u32 = 5;
/// Waits between tries to notify an inviter of a join: first and longest.
pub const JOIN_RETRY: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(60));
/// Bytes of a `nodes.json` to take over. A longer one is refused unread. With `ADOPT_INVITES_BYTES_MAX` it fits one request
/// of the local interface.
pub const ADOPT_NODES_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of an `invites.json` to take over. A longer one is refused unread.
pub const ADOPT_INVITES_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Records of one list in those files, usable or not. With more nothing is taken over.
pub const ADOPT_RECORDS_MAX: usize = 4 * PEERS_MAX;
/// Bytes of a last state that is taken over, as canonical CBOR. A peer with a longer one is taken over without it.
pub const ADOPT_STATE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a node's or peer's name.
pub const NODE_NAME_BYTES_MAX: usize = 64;

// ---- JSON calls --------------------------------------------------------------------------------------

/// Body of a call, bytes. A longer one is refused unread.
pub const CALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Answer to a call, bytes. A longer one is no answer.
pub const CALL_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Arrays and objects within each other in a call or its answer. A deeper one is refused before it is parsed.
pub const CALL_DEPTH_MAX: usize = 16;
/// A call's timestamp is accepted for so long before and after reference time.
pub const CALL_WINDOW: Millis = Millis::from_secs(5 * 60);
/// Calls of one sender that are recorded within that window. One more is refused until the window has moved on.
pub const CALLS_PER_SENDER_MAX: usize = 256;
/// Senders whose calls are recorded: peers, and those that were. A further one takes the place of the one that has not
/// called for the longest time, and is refused while all of them have called just now.
pub const CALL_SENDERS_MAX: usize = 2 * PEERS_MAX;
/// How long a call may take, from dialling to the end of its answer.
pub const CALL_TIMEOUT: Millis = Millis::from_secs(30);
/// The same for a call that installs an app.
pub const INSTALL_TIMEOUT: Millis = Millis::from_secs(120);
/// Calls of this node on their way at once. A further one is refused.
pub const CALLS_PENDING_MAX: usize = 64;
