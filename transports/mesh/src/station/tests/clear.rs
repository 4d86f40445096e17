//! Members whose hints in clear are the same by chance: of each 256 pairs in an audience one.

use super::*;
use crate::frame::keys::Hint;

fn clear(who: u8, all: &[u8]) -> Station {
    let setup = Setup { mode: Mode::SignedClear, region: Region::Wired, frame_bytes_max: 255 };
    station_in(setup, who, all, who, Default::default())
}

/// Two identities with one hint in the audience of the first of these.
fn twins() -> (u8, u8) {
    let pairs = (1..=250).flat_map(|a| (a + 1..=250).map(move |b| (a, b)));
    let hint = |owner, who| Hint::clear(&peer(owner), &peer(who));
    let same = |(a, b): &(u8, u8)| hint(*a, *a) == hint(*a, *b);
    pairs.into_iter().find(same).expect("of 31,000 pairs a hundred have one hint")
}

fn senders(heard: &[Result<Received, FrameRejection>]) -> Vec<PeerId> {
    let sender = |heard: &Result<Received, FrameRejection>| match heard {
        Ok(Received::Message { from, .. }) => Some(*from),
        _ => None,
    };
    heard.iter().filter_map(sender).collect()
}

/// What a member with the same hint sends is not taken for an echo of what this node sent.
#[test]
fn a_member_that_has_this_nodes_hint_in_clear_is_received() {
    let (owner, reader) = twins();
    let (mut a, mut b) = (clear(owner, &[owner, reader]), clear(reader, &[owner, reader]));
    say(&mut a, 0, owner, b"of the owner");
    let sent = frames(&mut a, 0);
    let heard = hear(&mut b, 0, &sent);
    assert_eq!((texts(&heard), senders(&heard)), (vec!["of the owner".to_owned()], vec![peer(owner)]));
    assert_eq!(hear(&mut a, 0, &sent), [Ok(Received::Echo)]);
    say(&mut b, 1, owner, b"of the reader");
    let heard = hear(&mut a, 1, &frames(&mut b, 1));
    assert_eq!((texts(&heard), senders(&heard)), (vec!["of the reader".to_owned()], vec![peer(reader)]));
}

/// Two members with one hint are distinguished, and one that is no peer is not taken for the other.
#[test]
fn members_with_one_hint_in_clear_are_distinguished() {
    let (owner, reader) = twins();
    let third = (1..=250).find(|who| ![owner, reader].contains(who)).unwrap();
    let all = [owner, reader, third];
    let mut listener = clear(third, &all);
    for who in [owner, reader] {
        let mut sender = clear(who, &all);
        say(&mut sender, 0, owner, b"news");
        assert_eq!(senders(&hear(&mut listener, 0, &frames(&mut sender, 0))), [peer(who)]);
    }
    let mut stranger = clear(reader, &all);
    say(&mut stranger, 0, owner, b"news");
    let mut knows_one = clear(third, &[owner, third]);
    let heard = hear(&mut knows_one, 0, &frames(&mut stranger, 0));
    assert_eq!(heard, [Err(FrameRejection::UnknownSender)]);
}
