use super::*;
use crate::clock::Timestamp;
use crate::identity::Keypair;
use crate::layer::{AllEntries, DocumentId, DocumentName, Head, Kind, LayerId, Sequence, is_written_whole};
use crate::limits::{TRANSFER_MEMORY_MAX, TRANSFER_QUIET, TRANSFERS_MAX};
use crate::time::Wall;
use proptest::prelude::*;
use tombolo_delta::Value;

const LINK: LinkId = LinkId(1);
const PEER: PeerId = PeerId([3; 32]);

fn entry(n: u64) -> Entry {
    Entry { stamp: Timestamp::from_bits(n), value: Some(Value::from(n).into()), saw: None }
}

fn key(n: u64) -> KeyPath {
    KeyPath::parse(&format!("harbour/{n}")).unwrap()
}

fn map(entries: impl IntoIterator<Item = (u64, u64)>) -> MapContent {
    MapContent::of_entries(entries.into_iter().map(|(k, v)| (key(k), Arc::new(entry(v))))).unwrap()
}

fn signed(map: &MapContent, sequence: u64) -> SignedHead {
    let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let document = DocumentId { owner: me.peer_id(), name: DocumentName::new("d").unwrap() };
    let head = Head {
        kind: Kind::Map,
        layer: LayerId { document, author: me.peer_id() },
        sequence: Sequence::new(sequence).unwrap(),
        time: Wall::from_ms(1),
        audience_sequence: Sequence::NONE,
        root: map.root(),
    };
    head.sign(&me)
}

fn lane(link: LinkId, arrives: Millis) -> TransferLane {
    TransferLane { peer: PEER, link, arrives }
}

/// A transfer of one layer over one link, and what it took.
struct Fetch {
    transfers: Transfers,
    id: TransferId,
    own: Option<MapContent>,
    arrives: Millis,
    open: VecDeque<Message>,
    open_max: usize,
    questions: usize,
    bytes: usize,
    /// Whether the last layer came with what the disk gets of it.
    is_written: bool,
}

impl Fetch {
    fn begin(theirs: &MapContent, own: Option<MapContent>) -> Self {
        let mut fetch = Fetch {
            transfers: Transfers::default(),
            id: TransferId { layer: signed(theirs, 1).head.layer.hash(), root: theirs.root() },
            own,
            arrives: Millis::from_ms(3),
            open: VecDeque::new(),
            open_max: 0,
            questions: 0,
            bytes: 0,
            is_written: false,
        };
        fetch.transfers.begin(signed(theirs, 1), PEER, fetch.own.as_ref(), Mono::ZERO);
        fetch
    }

    /// Asks what is due, and lets `theirs` answer the oldest question, as `changed`. Returns the layer if it has come.
    fn step(
        &mut self,
        theirs: &MapContent,
        changed: impl Fn(Message) -> Message,
    ) -> Result<Option<Layer>, TransferError> {
        let lane = lane(LINK, self.arrives);
        let asks = self.transfers.asks(Mono::ZERO, &[lane], |_| self.own.as_ref());
        self.questions += asks.len();
        self.open.extend(asks.into_iter().map(|(_, message)| message));
        self.open_max = self.open_max.max(self.open.len());
        let question = self.open.pop_front().expect("a question is open until all has come");
        let answer = match &question {
            Message::TreeAsk(id, asks) => answer_tree(*id, theirs, asks),
            Message::PartsAsk(id, asks) => answer_parts(*id, theirs, asks),
            other => panic!("{other:?} is no question for parts"),
        };
        let answer = changed(answer);
        self.bytes += question.encode().len() + answer.encode().len();
        let own = self.own.as_ref();
        match answer {
            Message::Tree(id, nodes) => self.transfers.take_nodes(&id, LINK, nodes, own, Mono::ZERO)?,
            Message::Parts(id, parts) => self.transfers.take_parts(&id, LINK, parts, own, Mono::ZERO)?,
            other => panic!("{other:?} is no answer"),
        }
        let finished = self.transfers.finish(&self.id, own).transpose()?;
        Ok(finished.map(|Assembled { layer, changed }| {
            let Content::Map(content) = &layer.content else { unreachable!("a map was fetched") };
            let mut expected = content.changes_since(own.unwrap_or(&MapContent::default()));
            expected.sort_by(|(a, _), (b, _)| a.cmp(b));
            let is_new = own.is_none_or(MapContent::is_empty);
            let all = (is_new && is_written_whole(expected.len(), content.len())).then(|| {
                let known = |(key, entry): (&KeyPath, &Arc<Entry>)| {
                    (key.clone(), entry.clone(), layer.signed.head.sequence)
                };
                AllEntries::of(content.below(NodePath::ROOT).map(known).collect())
            });
            let changed = changed.expect("nothing else has changed what is held");
            assert_eq!(changed.entries, expected, "what differs was noted on the way");
            self.is_written = changed.all.is_some();
            assert!(
                changed.all.is_none_or(|written| Some(&*written) == all.as_ref()),
                "as if written at once"
            );
            layer
        }))
    }

    fn run(&mut self, theirs: &MapContent) -> Layer {
        loop {
            if let Some(layer) = self.step(theirs, |answer| answer).unwrap() {
                assert_eq!(layer.content.root(), theirs.root());
                let Content::Map(content) = &layer.content else { unreachable!() };
                assert_eq!((content.len(), content.size_bytes()), (theirs.len(), theirs.size_bytes()));
                return layer;
            }
        }
    }
}

/// Over a fast link the next questions are on their way while an answer is; a slow link has one at a time. Nothing is asked for twice.
#[test]
fn a_fast_link_has_several_questions_under_way() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let mut fast = Fetch::begin(&theirs, None);
    fast.run(&theirs);
    assert!(fast.is_written, "the disk gets what was written as the parts came");
    let mut slow = Fetch { arrives: Millis::from_secs(2), ..Fetch::begin(&theirs, None) };
    slow.run(&theirs);
    assert_eq!((fast.open_max, slow.open_max), (ASKS_PER_LINK_MAX, 1));
    assert!(
        fast.questions <= slow.questions + 1,
        "{} questions, {} one at a time",
        fast.questions,
        slow.questions
    );
}

/// A first transfer asks for all below a node at once: it pays for no hash of a bucket, and neighbours pack.
#[test]
fn a_first_transfer_takes_less_than_its_entries() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let mut fetch = Fetch::begin(&theirs, None);
    fetch.run(&theirs);
    assert!(fetch.bytes < theirs.size_bytes() * 3 / 4, "{} bytes for {}", fetch.bytes, theirs.size_bytes());
}

/// Of 8,000 entries 10 differ, 10 are new and 10 gone.
#[test]
fn what_is_held_does_not_travel() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let own = map((10..8_010).map(|n| (n, if n % 800 == 0 { 1 } else { n })));
    let mut fetch = Fetch::begin(&theirs, Some(own));
    fetch.run(&theirs);
    assert!(fetch.bytes < 8_000, "{} bytes", fetch.bytes);
}

/// What came of a state that another overtakes need not come again; hashes of what did not come do.
#[test]
fn an_overtaken_transfer_goes_on() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let mut fetch = Fetch::begin(&theirs, None);
    for _ in 0..5 {
        assert!(fetch.step(&theirs, |answer| answer).unwrap().is_none());
    }
    let came = std::mem::take(&mut fetch.bytes);
    let later = map((0..8_000).map(|n| (n, if n == 77 { 0 } else { n })));
    fetch.transfers.begin(signed(&later, 2), PEER, None, Mono::ZERO);
    fetch.id.root = later.root();
    fetch.open.clear();
    fetch.run(&later);
    let mut whole = Fetch::begin(&later, None);
    whole.run(&later);
    assert!(fetch.bytes < whole.bytes - came + 12_000, "{} after {came}, of {}", fetch.bytes, whole.bytes);
}

/// In what it differs from the layer held here is known however far the states before had come: `Fetch::step` compares.
#[test]
fn an_overtaken_transfer_knows_in_what_it_differs() {
    let own = map((10..8_010).map(|n| (n, if n % 3 == 0 { 1 } else { n })));
    let states = [
        map((0..8_000).map(|n| (n, n))),
        map((0..8_000).filter(|n| n % 5 > 0).map(|n| (n, if n % 3 == 0 { 1 } else { n + 1 }))),
        map((4_000..8_010).map(|n| (n, if n % 7 == 0 { 9 } else { n }))),
    ];
    let mut fetch = Fetch::begin(&states[0], Some(own.clone()));
    for (sequence, steps) in [(1, 6), (2, 9), (3, usize::MAX)] {
        let theirs = &states[sequence as usize - 1];
        if sequence > 1 {
            fetch.transfers.begin(signed(theirs, sequence), PEER, Some(&own), Mono::ZERO);
            fetch.id.root = theirs.root();
            fetch.open.clear();
        }
        let came = (0..steps).find_map(|_| fetch.step(theirs, |answer| answer).unwrap());
        assert_eq!(came.is_some(), sequence == 3);
    }
}

/// A node whose entries are too large for a part is answered with its children.
#[test]
fn large_entries_come_by_bucket() {
    let large = Entry { value: Some(Value::from("x".repeat(50_000).as_str()).into()), ..entry(7) };
    let theirs = MapContent::of_entries((0..100).map(|n| (key(n), Arc::new(large.clone())))).unwrap();
    Fetch::begin(&theirs, None).run(&theirs);
}

/// What was asked for over a link that is gone is asked for over another, with all that waited there.
#[test]
fn what_a_dead_link_owes_is_asked_for_elsewhere() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let mut fetch = Fetch::begin(&theirs, None);
    while fetch.transfers.under_way.values().any(|transfer| transfer.parts.is_empty()) {
        fetch.step(&theirs, |answer| answer).unwrap();
    }
    let lanes = |link| [lane(LinkId(link), Millis::from_ms(3))];
    fetch.transfers.asks(Mono::ZERO, &lanes(1), |_| None);
    assert!(
        fetch.transfers.asks(Mono::ZERO, &lanes(1), |_| None).is_empty(),
        "nothing more is asked before an answer"
    );
    let transfer = fetch.transfers.under_way.values().next().unwrap();
    let owed: Vec<NodePath> = transfer.asks_open().flat_map(|ask| &ask.parts).copied().collect();
    fetch.transfers.link_down(LINK);
    let again = fetch.transfers.asks(Mono::ZERO, &lanes(2), |_| None).into_iter().flat_map(|(_, message)| {
        match message {
            Message::PartsAsk(_, asks) => asks.into_iter().map(|ask| ask.path),
            other => panic!("{other:?} is no question for parts"),
        }
    });
    assert_eq!(again.collect::<Vec<_>>(), owed);
}

/// An answer that claims to leave out what is held, and does not fit, is asked for whole, once.
#[test]
fn a_misleading_answer_is_asked_for_whole() {
    let theirs = map((0..8_000).map(|n| (n, n)));
    let own = map((0..8_000).map(|n| (n, n % 7_999)));
    let mislead = |answer: Message| match answer {
        Message::Parts(id, mut parts) => {
            parts.iter_mut().for_each(|part| part.same = part.same.take().map(|same| vec![0xff; same.len()]));
            Message::Parts(id, parts)
        }
        Message::Tree(id, mut nodes) => {
            nodes.iter_mut().for_each(|node| node.same = node.same.map(|same| !same));
            Message::Tree(id, nodes)
        }
        other => other,
    };
    let mut fetch = Fetch::begin(&theirs, Some(own));
    loop {
        if let Some(layer) = fetch.step(&theirs, mislead).unwrap() {
            assert_eq!(layer.content.root(), theirs.root());
            break;
        }
    }
    let wrong = |answer: Message| match answer {
        Message::Tree(id, nodes) => Message::Tree(
            id,
            nodes.into_iter().map(|node| TreeNode { children: Vec::new(), ..node }).collect(),
        ),
        other => other,
    };
    let mut fetch = Fetch::begin(&theirs, None);
    assert_eq!(fetch.step(&theirs, wrong).err(), Some(TransferError::Hash));
}

/// A question of some hundred bytes for much makes no more work than one for little: what is too large for a part is not read to its end.
#[test]
fn an_answer_looks_at_little_whatever_is_asked() {
    let theirs = map((0..40_000).map(|n| (n, n)));
    let id = TransferId { layer: signed(&theirs, 1).head.layer.hash(), root: theirs.root() };
    let few = NodeAsk { path: NodePath::from(crate::layer::BucketIndex::of(&key(1))), held: None };
    let all = NodeAsk { path: NodePath::ROOT, held: None };
    let asks = [vec![few], vec![all; TRANSFER_ASK_MAX - 1]].concat();
    crate::steps::take();
    let Message::Parts(_, parts) = answer_parts(id, &theirs, &asks) else { panic!() };
    assert_eq!(parts.len(), 1);
    let steps = crate::steps::take();
    assert!(steps < 2 * theirs.len() as u64, "{steps} steps");
}

fn contents() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0u64..400, 0u64..4), 0..300)
}

proptest! {
    /// Whatever is held, what was signed arrives, also where what is held changes in the middle or the answers are cut.
    #[test]
    fn any_layer_arrives_whatever_is_held(theirs in contents(), own in proptest::option::of(contents()), flip in any::<u8>()) {
        let theirs = map(theirs);
        let mut fetch = Fetch::begin(&theirs, own.map(map));
        let cut = |answer: Message| match answer {
            Message::Parts(id, mut parts) if flip % 3 == 0 => {
                parts.truncate(1 + usize::from(flip / 3) % parts.len().max(1));
                Message::Parts(id, parts)
            }
            other => other,
        };
        for round in 0..5_000 {
            prop_assert!(round < 4_999, "no end");
            if let Some(layer) = fetch.step(&theirs, cut).unwrap() {
                prop_assert_eq!(layer.content.root(), theirs.root());
                break;
            }
        }
    }
}

/// The offer of a large layer of this number, which never comes.
fn offer(number: u64) -> SignedHead {
    let mut signed = signed(&MapContent::default(), 1);
    signed.head.layer.document.name = DocumentName::new(&format!("d{number}")).unwrap();
    signed
}

fn peer(seed: u8) -> PeerId {
    PeerId([seed; 32])
}

fn holds(transfers: &Transfers, number: u64) -> bool {
    transfers.under_way.contains_key(&offer(number).head.layer.hash())
}

/// 64 offers that never come, of one peer, hold no other peer up: each newcomer gets a place at once, up to an equal share.
#[test]
fn no_peer_holds_all_places() {
    let (greedy, honest, third) = (peer(3), peer(4), peer(5));
    let mut transfers = Transfers::default();
    for number in 0..200 {
        transfers.begin(offer(number), greedy, None, Mono::ZERO);
    }
    assert_eq!(transfers.places_of(&greedy), TRANSFERS_MAX);
    for number in 0..40 {
        transfers.begin(offer(1_000 + number), honest, None, Mono::from_ms(number));
        transfers.begin(offer(2_000 + number), third, None, Mono::from_ms(number));
    }
    let shares = |transfers: &Transfers| [&greedy, &honest, &third].map(|peer| transfers.places_of(peer));
    let equal = shares(&transfers);
    assert_eq!(equal.iter().sum::<usize>(), TRANSFERS_MAX);
    assert!(equal.iter().all(|share| (21..=22).contains(share)), "{equal:?}");
    // What has no place is shown, with the peer that holds most.
    let standing = transfers.standing();
    let waits = standing.iter().filter(|one| matches!(one.place, TransferPlace::Waits { .. })).count();
    assert_eq!(waits, TRANSFERS_MAX, "as many as are remembered");
    // The greedy peer does not push others out by offering again.
    for number in 300..400 {
        transfers.begin(offer(number), greedy, None, Mono::from_ms(50));
    }
    assert_eq!(shares(&transfers), equal);
}

/// Where each peer has its share, what stands still makes way, of the newcomer first; what no peer brings any more goes before.
#[test]
fn what_stands_still_gives_way() {
    let mut transfers = Transfers::default();
    for number in 0..TRANSFERS_MAX as u64 {
        transfers.begin(offer(number), peer(3), None, Mono::from_ms(number));
    }
    let fresh = Mono::from_ms(1_000);
    transfers.begin(offer(100), peer(3), None, fresh);
    assert!(!holds(&transfers, 100), "none stands still yet");
    let later = Mono::ZERO + TRANSFER_QUIET + Millis::from_ms(1);
    transfers.begin(offer(100), peer(3), None, later);
    assert!(holds(&transfers, 100) && !holds(&transfers, 0), "the one that moved least recently");
    transfers.peer_down(&peer(3));
    transfers.begin(offer(101), peer(3), None, fresh);
    assert!(holds(&transfers, 101) && !holds(&transfers, 1), "it has no source any more");
}

/// Parts that one peer piles up cost that peer its own transfers, and no other peer anything.
#[test]
fn parts_are_given_up_by_the_peer_that_has_most() {
    let mut transfers = Transfers::default();
    for number in 0..5 {
        let from = if number == 0 { peer(4) } else { peer(3) };
        transfers.begin(offer(number), from, None, Mono::from_ms(number));
        let transfer = transfers.under_way.get_mut(&offer(number).head.layer.hash()).unwrap();
        transfer.parts_memory = TRANSFER_MEMORY_MAX / 4 + 1;
        transfers.stay_within_limit();
    }
    assert_eq!([0, 1, 2, 3, 4].map(|number| holds(&transfers, number)), [true, false, false, true, true]);
}
