//! Large writes that are worked out beside the node: it hands out drafts of them, and signs what comes back.

use crate::authoring::{Draft, DraftInput, DraftOrder, Drafted};
use crate::clock::Now;
use crate::io::{CommandError, RequestId};
use crate::node::Node;

impl Node {
    /// Takes a write that may be large, or one that was worked out. It is answered as any other write, or by a draft
    /// ([`take_drafts`](Self::take_drafts)).
    pub fn handle_draft(&mut self, now: Now, request: RequestId, input: DraftInput) {
        if !self.begin_input(now, false) {
            return self.core.gate.reply_refused(request);
        }
        self.settle();
        let order = match input {
            DraftInput::Order(order) => order,
            DraftInput::Drafted(drafted) => match self.order_again(*drafted, request) {
                Some(order) => order,
                None => return,
            },
        };
        self.draft(request, order);
    }

    /// The drafts that were made since this was last called.
    pub fn take_drafts(&mut self) -> Vec<(RequestId, Draft)> {
        self.authoring.take_drafts()
    }

    /// Stages what was worked out, or returns the write where that does not hold any more.
    fn order_again(&mut self, drafted: Drafted, request: RequestId) -> Option<DraftOrder> {
        let document = drafted.document().clone();
        let holds = drafted.holds(&self.core, &self.replica) && !self.awaits_own(&document);
        let refused = match holds {
            true => {
                self.authoring.stage_drafted(&mut self.core, &mut self.replica, request, drafted).err()?
            }
            false => match drafted.again() {
                order if order.is_given_up() => {
                    CommandError::Changing(self.replica.document_name(&self.core, &document))
                }
                order => return Some(order),
            },
        };
        self.core.gate.reply(request, Err(refused));
        None
    }

    /// Makes a draft of a write, or does it where that takes no time.
    fn draft(&mut self, request: RequestId, order: DraftOrder) {
        let document = Draft::document_of(&self.core, &self.replica, &order);
        let Some(document) = document.filter(|document| !self.awaits_own(document)) else {
            return self.command(request, order.into_write().into());
        };
        // It would be out of date with the next slice.
        if self.authoring.has_slices_of(&document) {
            return self.authoring.wait_for_slices(request, document, order);
        }
        match Draft::new(&self.core, &self.replica, order, document) {
            Ok(draft) => self.authoring.offer(request, draft),
            Err(why) => self.core.gate.reply(request, Err(why)),
        }
    }

    /// Makes drafts of the writes that waited for slices which are done.
    pub(super) fn draft_waiting(&mut self) {
        for (request, order) in self.authoring.take_behind_slices() {
            self.draft(request, order);
        }
    }
}
