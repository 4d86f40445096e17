//! How much parity goes along: what costs the least airtime, the listener's question included.
//!
//! Each fragment is lost with the probability `p` that the link shows. To send `r` where `d` are lacking costs
//! `r` frames; those that still lack after it cost a *round*: a question, the silence around it, and the answer.
//! With `V(d)` the least expected cost of serving a listener that has asked for `d`:
//!
//! ```text
//! V(d) = min over r >= d of  Q / (1 - p) + r + sum over a < d of P(a of r arrive) V(d - a)
//! W(k) = min over m >= 0 of  k + m           + sum over a < k of P(a of k + m arrive) V(k - a)
//! ```
//! `Q` is the price of a question, in fragments: one. Its frame is short (a quarter of a full one), may be lost
//! itself, and no one else speaks in the wait around it. In a message of several blocks one question serves them
//! all, and each bears its part. Where *nothing* arrives no listener asks, and the sender above must notice by itself:
//! that costs the whole again and `UNHEARD` more, so that short messages get parity early. At no loss the
//! answer is no parity.

use super::BLOCK_FRAGMENTS_MAX;

/// The price of a question in fragments; see the module.
const QUESTION: f64 = 1.0;
/// What it costs, in fragments, to notice by other means that nothing at all has arrived.
const UNHEARD: f64 = 4.0;
/// Loss beyond this is counted as this: parity never more than about doubles a transfer.
pub const LOSS_PERMILLE_MAX: u16 = 500;
/// The search for the least cost goes up to three times the fragments and so many more.
const SPARE: usize = 16;
/// It ends before when it has risen so often in a row.
const RISES_MAX: usize = 3;

/// What to send for the loss that a link shows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Along with the block at first.
    parity: usize,
    /// Repairs to send in answer to a NACK, by the deficit that it names.
    repairs: Vec<usize>,
}

impl Plan {
    /// For blocks of at most `fragments`, of which a message has so many, at a loss in thousandths.
    pub fn new(fragments: usize, blocks: usize, loss_permille: u16) -> Self {
        let fragments = fragments.min(BLOCK_FRAGMENTS_MAX);
        let loss = f64::from(loss_permille.min(LOSS_PERMILLE_MAX)) / 1000.0;
        let arrivals = arrivals(3 * fragments + SPARE, loss);
        let mut costs = Costs { loss, blocks: blocks.max(1), served: vec![0.0], arrivals };
        let mut repairs = vec![0];
        for deficit in 1..=fragments {
            let (cost, send) = costs.least(deficit, |send, arrivals| costs.repair(deficit, send, arrivals));
            costs.served.push(cost);
            repairs.push(send);
        }
        let (_, send) = costs.least(fragments, |send, arrivals| costs.first(fragments, send, arrivals));
        Self { parity: send.saturating_sub(fragments), repairs }
    }

    /// Parity fragments that go along with each block at first.
    pub fn parity(&self) -> usize {
        self.parity
    }

    /// Fragments to send to a listener that lacks `deficit`.
    pub fn repairs(&self, deficit: usize) -> usize {
        self.repairs.get(deficit).copied().unwrap_or(deficit)
    }
}

/// What the plan is made from.
struct Costs {
    loss: f64,
    blocks: usize,
    /// By deficit: the expected cost of serving it.
    served: Vec<f64>,
    /// By number sent: the chances that none, one, two... of them arrive.
    arrivals: Vec<Vec<f64>>,
}

impl Costs {
    fn repair(&self, deficit: usize, send: usize, arrivals: &[f64]) -> f64 {
        let question = QUESTION / self.blocks as f64 / (1.0 - self.loss);
        let again = self.expected_rest(arrivals, deficit);
        // Where none arrives the same is to be done once more.
        (question + send as f64 + again) / (1.0 - arrivals.first().copied().unwrap_or(0.0))
    }

    fn first(&self, fragments: usize, send: usize, arrivals: &[f64]) -> f64 {
        let nothing = arrivals.first().copied().unwrap_or(0.0);
        let unheard = if self.blocks == 1 { UNHEARD } else { 0.0 };
        // As above; only that noticing costs more than a question.
        (send as f64 + self.expected_rest(arrivals, fragments) + nothing * unheard) / (1.0 - nothing)
    }

    /// The expected cost of what is lacking after one or more, but too few, have arrived.
    fn expected_rest(&self, arrivals: &[f64], deficit: usize) -> f64 {
        let rest = arrivals.iter().enumerate().take(deficit).skip(1);
        rest.map(|(arrived, chance)| chance * self.served.get(deficit - arrived).copied().unwrap_or(0.0))
            .sum()
    }

    /// The least cost and the number to send for it, from `fewest` upwards.
    fn least(&self, fewest: usize, cost: impl Fn(usize, &[f64]) -> f64) -> (f64, usize) {
        let mut best = (f64::INFINITY, fewest);
        let mut rises = 0;
        for (send, arrivals) in self.arrivals.iter().enumerate().skip(fewest) {
            let here = cost(send, arrivals);
            if here < best.0 {
                (best, rises) = ((here, send), 0);
            } else {
                rises += 1;
                if rises == RISES_MAX {
                    break;
                }
            }
        }
        best
    }
}

/// By number sent, up to `sent_max`: the chance that just so many arrive.
fn arrivals(sent_max: usize, loss: f64) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![1.0]];
    let mut chances = vec![1.0];
    for _ in 0..sent_max {
        let lost = chances.iter().map(|chance| chance * loss).chain([0.0]);
        let arrived = [0.0].into_iter().chain(chances.iter().map(|chance| chance * (1.0 - loss)));
        chances = lost.zip(arrived).map(|(lost, arrived)| lost + arrived).collect();
        rows.push(chances.clone());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_added_on_a_link_that_loses_nothing() {
        for fragments in 1..=BLOCK_FRAGMENTS_MAX {
            let plan = Plan::new(fragments, 1, 0);
            assert_eq!((plan.parity(), plan.repairs(fragments)), (0, fragments));
        }
    }

    #[test]
    fn more_loss_never_means_less_parity_and_never_too_much() {
        for fragments in [1, 2, 3, 5, 8, 19, 64] {
            let parities: Vec<usize> =
                (0..=10).map(|tenth| Plan::new(fragments, 1, tenth * 50).parity()).collect();
            println!("{fragments} fragments, parity at 0, 5, .. 50 % loss: {parities:?}");
            assert!(parities.is_sorted(), "{fragments}: {parities:?}");
            assert!(parities[10] <= 2 * fragments + 2, "{fragments}: {parities:?}");
            assert_eq!(Plan::new(fragments, 1, 999).parity(), parities[10]);
        }
    }

    /// The table in `FORMAT.md`: 5, 10, 15, 20, 30, 40 and 50 % loss.
    #[test]
    fn parity_is_as_the_format_says() {
        let table = [
            (2, [0, 0, 0, 0, 1, 1, 2]),
            (3, [0, 0, 0, 1, 1, 2, 3]),
            (8, [0, 1, 1, 1, 3, 4, 7]),
            (19, [1, 1, 2, 4, 6, 10, 15]),
            (64, [2, 5, 8, 12, 21, 34, 52]),
        ];
        for (fragments, parities) in table {
            let planned =
                [50, 100, 150, 200, 300, 400, 500].map(|loss| Plan::new(fragments, 1, loss).parity());
            assert_eq!(planned, parities, "{fragments} fragments");
        }
    }

    #[test]
    fn the_chances_add_up() {
        for (sent, loss) in [(1, 0.3), (64, 0.5), (128, 0.05)] {
            assert!((arrivals(sent, loss)[sent].iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    /// Two fragments are the common case: a second copy's worth only where it pays.
    #[test]
    fn short_messages_stay_cheap_on_good_links() {
        assert_eq!(Plan::new(2, 1, 50).parity(), 0);
        assert_eq!(Plan::new(3, 1, 10).parity(), 0);
        assert!(Plan::new(2, 1, 300).parity() >= 1);
    }
}
