//! What goes out next on one radio: the only place that decides. There is one list, the most urgent first:
//!
//! ```text
//! the station's own work   the call sign or the announcement, where it must go before anything else; then by priority NACKs,
//!                          handshakes, messages that were handed over, and fragments of those that take several frames
//! keys                     messages of pairwise channels, for a node that cannot read anything else
//! an unsigned state        unless rights or a frontier are due
//! offers of the engine     rights, frontiers, heartbeat, then layers by their worth
//! ```
//!
//! The first that the airtime ledger and the pace of its class (`pacing`) let out now is the next frame. What waits holds nothing
//! back that comes after it: each class has a share of its own. An offer is made into a message only when its turn comes, since
//! what it costs depends on what fits the frame. A message that may leave becomes work of the station, which is then looked
//! at once more: a call sign or an announcement may have to go before it.

use crate::time::{Millis, Mono};
use std::collections::VecDeque;

use tombolo_mesh::airtime::ledger::{NeverLegal, Verdict};
use tombolo_mesh::station::{
    FrameCharge, Outgoing, QUEUE_FRAMES_MAX, SendRefusal, Sent, TakenWork, WorkCandidate,
};

use crate::broadcast::transmit::SendOutcome;
use crate::broadcast::{RadioContext, RadioLink};
use crate::io::Output;
use crate::sync::broadcast::{FIRST_RANK_MAX, Transmission};

/// What is due and may not leave by any link is looked at again so much later, or when something happens.
const BARRED: Millis = Millis::from_secs(60);
/// Offers of the engine that are looked at for one frame.
pub(super) const OFFERS_MAX: usize = 64;

/// Something that could go out now.
enum FrameCandidate {
    /// Of the station itself.
    Work(WorkCandidate),
    /// The next message of a pairwise channel.
    Keys,
    /// The newest own state, without a signature.
    Unsigned,
    /// What the engine has due.
    Offer(Transmission),
}

/// A part of the list, which is made when what is before it may not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateSource {
    Station,
    Above,
}

/// What became of a candidate.
enum CandidateOutcome {
    /// The frame for the driver.
    Frame(RadioFrame),
    /// Its message is the station's now.
    HandedOver,
    /// Nothing can be sent before this instant.
    Wait(Mono),
    /// It cannot be made any more, and another may be in its place.
    Gone,
    /// There is nothing to send, or the station has the time of it.
    Nothing,
}

/// A frame for the driver, and what it cost.
struct RadioFrame {
    bytes: Vec<u8>,
    charge: FrameCharge,
}

/// What became of a message that was to go to the station.
pub(super) enum HandOver {
    /// The station has it.
    Done(Sent),
    /// Nothing can be sent before this instant.
    Wait(Mono),
    /// However long it waits.
    Never(NeverLegal),
    /// The station does not take it.
    Refused(SendRefusal),
}

impl RadioLink {
    /// Writes what the station wants written, and gives the radio a frame if it takes one.
    pub(super) fn drive(&mut self, cx: &mut RadioContext<'_>) {
        self.follow_policy(&cx.unicast.router().policy);
        self.repeat_calls(cx);
        self.send_answers(cx.core.now());
        self.ask_for_keys(cx);
        self.write_records(cx);
        let may_send = self.device.up && self.device.ready && self.device.quiet_until <= cx.core.now();
        if may_send
            && let Some(RadioFrame { bytes, charge }) =
                self.next_frame(cx, &[CandidateSource::Station, CandidateSource::Above])
        {
            self.device.ready = false;
            self.counts.sent(bytes.len(), charge);
            cx.core.gate.output(Output::Frame { link: self.link, bytes });
        }
    }

    /// The first of the list that may leave.
    fn next_frame(&mut self, cx: &mut RadioContext<'_>, sources: &[CandidateSource]) -> Option<RadioFrame> {
        let mut gone = 0;
        let mut earliest = None;
        for source in sources {
            let mut candidates = self.candidates(cx, *source);
            while let Some(candidate) = candidates.pop_front() {
                match self.take(cx, candidate) {
                    CandidateOutcome::Frame(frame) => return Some(frame),
                    CandidateOutcome::HandedOver => return self.next_frame(cx, &[CandidateSource::Station]),
                    CandidateOutcome::Wait(at) => {
                        earliest = Some(earliest.map_or(at, |other: Mono| other.min(at)));
                    }
                    CandidateOutcome::Gone if gone < QUEUE_FRAMES_MAX => {
                        gone += 1;
                        candidates = self.candidates(cx, *source);
                    }
                    CandidateOutcome::Gone => break,
                    CandidateOutcome::Nothing => {}
                }
            }
        }
        if sources.contains(&CandidateSource::Above) {
            self.look_again(cx, earliest);
        }
        None
    }

    fn candidates(&mut self, cx: &mut RadioContext<'_>, source: CandidateSource) -> VecDeque<FrameCandidate> {
        match source {
            CandidateSource::Station => self.work(cx),
            CandidateSource::Above => self.offers(cx),
        }
    }

    fn work(&mut self, cx: &mut RadioContext<'_>) -> VecDeque<FrameCandidate> {
        let now = cx.core.now();
        self.station.pass_time(now);
        self.write_records(cx);
        self.station.candidates(now).into_iter().map(FrameCandidate::Work).collect()
    }

    fn offers(&mut self, cx: &mut RadioContext<'_>) -> VecDeque<FrameCandidate> {
        let (now, me) = (cx.core.now(), cx.core.me);
        let mut offers = VecDeque::new();
        let is_new = || self.engine.next_after(self.due.looked_at).is_some_and(|at| at <= now);
        if self.due.retry_at.is_some_and(|at| at > now) && !is_new() {
            return offers;
        }
        self.due.retry_at = None;
        if self.exchange.waits() {
            offers.push_back(FrameCandidate::Keys);
        }
        if !self.unsigned.is_due() && self.engine.poll_timeout(now).is_none_or(|at| at > now) {
            return offers;
        }
        if self.upkeep_is_scarce(now) {
            self.engine.drop_early_heartbeat(now);
        }
        let mut due = self.engine.transmissions(now);
        self.pacing.order(&mut due);
        let is_unread = |offer: &Transmission| {
            matches!(offer, Transmission::Heartbeat(_)) && !self.engine.participates(&me)
        };
        if let Some(unread) = due.iter().find(|offer| is_unread(offer)).cloned() {
            // The own documents have no reader yet.
            self.engine.done(now, &unread);
        }
        let goes_first = |offer: &Transmission| {
            matches!(
                offer,
                Transmission::Frontier { .. } | Transmission::Supply { rank: 0..=FIRST_RANK_MAX, .. }
            )
        };
        if !due.first().is_some_and(goes_first) {
            offers.push_back(FrameCandidate::Unsigned);
        }
        offers.extend(due.into_iter().take(OFFERS_MAX).map(FrameCandidate::Offer));
        offers
    }

    fn take(&mut self, cx: &mut RadioContext<'_>, candidate: FrameCandidate) -> CandidateOutcome {
        let outcome = match candidate {
            FrameCandidate::Work(work) => return self.take_work(cx, &work),
            FrameCandidate::Keys => self.send_pair_message(cx),
            FrameCandidate::Unsigned => self.send_unsigned(cx),
            FrameCandidate::Offer(offer) => self.send(cx, offer),
        };
        match outcome {
            SendOutcome::Sent(_) => CandidateOutcome::HandedOver,
            SendOutcome::Nothing => CandidateOutcome::Nothing,
            SendOutcome::Wait(at) => CandidateOutcome::Wait(at),
        }
    }

    /// What the station wants written goes into the same commit, before the frame.
    fn take_work(&mut self, cx: &mut RadioContext<'_>, work: &WorkCandidate) -> CandidateOutcome {
        loop {
            let taken = self.station.take(cx.shared.moment(cx.core), work);
            self.write_records(cx);
            return match taken {
                TakenWork::Frame { frame, charge } => {
                    CandidateOutcome::Frame(RadioFrame { bytes: frame, charge })
                }
                // The record is written now.
                TakenWork::NeedsRecord => continue,
                TakenWork::Barred => CandidateOutcome::Nothing,
                TakenWork::Gone => CandidateOutcome::Gone,
            };
        }
    }

    /// Hands a message to the station if the ledger lets it out now.
    pub(super) fn hand_over(&mut self, now: Mono, outgoing: Outgoing) -> HandOver {
        let in_frame = outgoing.bytes.len().min(self.station.payload_bytes_max());
        match self.station.verdict(now, in_frame, outgoing.priority) {
            Verdict::Now => {}
            Verdict::Wait(wait) => return HandOver::Wait(now + wait),
            Verdict::Never { why } => return HandOver::Never(why),
        }
        match self.station.send(now, outgoing) {
            Ok(sent) => HandOver::Done(sent),
            Err(error) => HandOver::Refused(error),
        }
    }

    /// When what may not leave now is looked at again. What no link may carry stays due: not at once, then.
    fn look_again(&mut self, cx: &RadioContext<'_>, earliest: Option<Mono>) {
        let now = cx.core.now();
        let is_due = || self.engine.poll_timeout(now).is_some_and(|at| at <= now);
        self.due.looked_at = now;
        let known = earliest.or(self.due.retry_at);
        self.due.retry_at = known.or_else(|| is_due().then_some(now + BARRED));
    }
}
