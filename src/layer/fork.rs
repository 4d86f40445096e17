//! Two states with one sequence: a cloned disk, a restored backup, or an author who lies.

use crate::layer::SignedHead;

/// Both signed heads: anyone can check that the author signed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkEvidence {
    /// The head with the lower root.
    pub lower: SignedHead,
    /// The head with the higher root, the one that all keep until the next sequence ends the fork.
    pub higher: SignedHead,
}

impl ForkEvidence {
    /// The evidence that two verified heads make, if they do.
    pub fn of(a: &SignedHead, b: &SignedHead) -> Option<Self> {
        let fork =
            a.head.layer == b.head.layer && a.head.sequence == b.head.sequence && a.head.root != b.head.root;
        let (lower, higher) = if a.head.root < b.head.root { (a, b) } else { (b, a) };
        fork.then(|| ForkEvidence { lower: lower.clone(), higher: higher.clone() })
    }
}
