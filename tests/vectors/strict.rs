//! Signatures in which libraries differ: points of small order, keys with a component of small order, points in another than their one
//! form. Each is of a snapshot whose owner has that key.

use super::hex;
use super::rules::{TIME_MS, case, fixed};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha512};
use tombolo::envelope::{Envelope, encode_whole};
use tombolo::layer::{Content, DocumentId, DocumentName, Head, Kind, Layer, LayerId, Sequence, SignedHead};
use tombolo::time::Wall;
use tombolo_delta::Value;
use tombolo_mesh::PeerId;

/// The neutral element with the second coordinate p + 1 in place of 1.
const NEUTRAL_IN_ANOTHER_FORM: &str = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";

struct Signed {
    head: Head,
    content: Content,
}

impl Signed {
    fn by(key: [u8; 32]) -> Self {
        let content = Content::snapshot(Value::from("tide")).unwrap();
        let document = DocumentId { owner: PeerId(key), name: DocumentName::new("state").unwrap() };
        let head = Head {
            kind: Kind::Snapshot,
            layer: LayerId { document, author: PeerId(key) },
            sequence: Sequence::new(1).unwrap(),
            time: Wall::from_ms(TIME_MS),
            audience_sequence: Sequence::NONE,
            root: content.root(),
        };
        Signed { head, content }
    }

    /// The `k` of a signature with this first half.
    fn k(&self, r: &[u8; 32]) -> Scalar {
        let hash = Sha512::new().chain_update(r).chain_update(self.head.layer.author.0);
        let hash = hash.chain_update(self.head.signing_bytes()).finalize();
        Scalar::from_bytes_mod_order_wide(&hash.into())
    }

    fn case(self, why: &str, r: [u8; 32], s: Scalar) -> Json {
        let signature = [r, s.to_bytes()].concat().try_into().unwrap();
        let layer = Layer { signed: SignedHead { head: self.head, signature }, content: self.content };
        case("E1", "whole envelope", why, json!({ "hex": hex(encode_whole(&Envelope::seal(&layer))) }))
    }
}

fn scalars() -> impl Iterator<Item = Scalar> {
    (1_u64..).map(|n| Scalar::from(n * 0x0123_4567_89ab))
}

/// A key that is the sum of an honest one and a point of order 8, with a signature for which `wanted` holds of `k` times that point.
fn of_a_mixed_key(why: &str, wanted: impl Fn(EdwardsPoint) -> bool) -> Json {
    let (a, small) = (Scalar::from(5_u64), EIGHT_TORSION[1]);
    let signed = Signed::by((B * a + small).compress().0);
    let fits = |r: &Scalar| wanted(small * signed.k(&(B * r).compress().0));
    let r = scalars().find(fits).unwrap();
    let first = (B * r).compress().0;
    let s = r + signed.k(&first) * a;
    signed.case(why, first, s)
}

/// A key of small order, in this form, for which the equation holds.
fn of_a_small_key(why: &str, key: [u8; 32], point: EdwardsPoint) -> Json {
    let signed = Signed::by(key);
    let fits = |r: &Scalar| point * signed.k(&(B * r).compress().0) == EIGHT_TORSION[0];
    let r = scalars().find(fits).unwrap();
    signed.case(why, (B * r).compress().0, r)
}

/// A first half that is the neutral element, in this form: the equation holds for an honest key.
fn of_a_neutral_half(why: &str, half: [u8; 32]) -> Json {
    let a = Scalar::from(7_u64);
    let signed = Signed::by((B * a).compress().0);
    let s = signed.k(&half) * a;
    signed.case(why, half, s)
}

/// A first half of order 8 under a key that has a component of order 8: the equation holds.
fn of_a_half_of_order_8() -> Json {
    let (a, small) = (Scalar::from(5_u64), EIGHT_TORSION[1]);
    let (half, signed) = (0..64_u64)
        .map(|n| Signed::by((B * (a + Scalar::from(n)) + small).compress().0))
        .enumerate()
        .find_map(|(n, signed)| {
            let halves = [1, 3, 5, 7].map(|at| EIGHT_TORSION[at]);
            let fits = |half: &EdwardsPoint| half + small * signed.k(&half.compress().0) == EIGHT_TORSION[0];
            halves.into_iter().find(fits).map(|half| ((n, half), signed))
        })
        .unwrap();
    let (n, half) = half;
    let s = signed.k(&half.compress().0) * (a + Scalar::from(n as u64));
    signed.case("the first half is a point of order 8, and the equation holds", half.compress().0, s)
}

pub(super) fn accepted() -> Vec<Json> {
    vec![of_a_mixed_key(
        "a key with a component of small order, and a signature that holds without the cofactor",
        |rest| rest == EIGHT_TORSION[0],
    )]
}

pub(super) fn refused() -> Vec<Json> {
    let other = fixed(&json!(NEUTRAL_IN_ANOTHER_FORM));
    let small = |at: usize, order: &str| {
        let point: EdwardsPoint = EIGHT_TORSION[at];
        of_a_small_key(&format!("a key of order {order}, and the equation holds"), point.compress().0, point)
    };
    vec![
        of_a_mixed_key("a signature that holds with the cofactor only", |rest| rest != EIGHT_TORSION[0]),
        small(0, "1"),
        small(4, "2"),
        small(2, "4"),
        small(1, "8"),
        small(3, "8, the other second coordinate"),
        of_a_small_key("the neutral element as key, not in its canonical form", other, EIGHT_TORSION[0]),
        of_a_neutral_half("the first half is the neutral element", EIGHT_TORSION[0].compress().0),
        of_a_neutral_half("the first half is the neutral element, not in its canonical form", other),
        of_a_half_of_order_8(),
    ]
}
