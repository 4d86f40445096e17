//! A large document over several links at once, and over the one that is left when another dies. No radio takes part.

use super::*;
use tombolo_sim::field::CableKind;
use tombolo_transports::Medium;

/// 2 Mbit/s and 1 Mbit/s: what both bring together takes two thirds of what the faster one takes.
const LAN: CableKind =
    CableKind { medium: Medium::Lan, latency: Millis::from_ms(5), rate_bps: Some(2_000_000) };
const TOR: CableKind =
    CableKind { medium: Medium::Tor, latency: Millis::from_ms(150), rate_bps: Some(1_000_000) };

/// Two nodes with these cables; the first writes a document of about 900 kB that nothing packs.
fn writes_a_large_document(seed: u64, cables: &[CableKind]) -> Field {
    let mut field = sf7(seed);
    field.calls_reach = true;
    for name in ["a", "b"] {
        field.add(name, false).unwrap();
    }
    join(&mut field, 0, 1);
    cables.iter().for_each(|kind| field.connect_over(0, 1, *kind));
    create(&mut field, 0, "photos");
    field.run(2 * MINUTE);
    let mut state = seed | 1;
    let mut letter = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 94)
    };
    let entries = (0..300)
        .map(|n| (format!("k{n}"), Value::from((0..3_000).map(|_| letter()).collect::<String>().as_str())));
    let put =
        Write::Put { doc: "photos".into(), value: Value::map(entries.collect::<Vec<_>>()), whole: true };
    assert!(matches!(field.ask(0, put), Some(Ok(_))));
    field
}

fn has_it(field: &mut Field) -> bool {
    get(field, 1, "photos").is_some_and(|photos| photos.get("k299").is_some())
}

/// Milliseconds and bytes until the document is at the other node.
fn arrives(field: &mut Field) -> (u64, u64) {
    let (begun, bytes) = (field.now(), field.cable_bytes());
    assert!(field.run_until(10 * MINUTE, has_it), "it arrives");
    assert_eq!(get(field, 0, "photos"), get(field, 1, "photos"));
    (field.now().since(begun).ms(), field.cable_bytes() - bytes)
}

#[test]
fn parts_come_over_all_links_at_once_each_as_fast_as_it_is() {
    let (alone_ms, alone_bytes) = arrives(&mut writes_a_large_document(431, &[LAN]));
    let (both_ms, both_bytes) = arrives(&mut writes_a_large_document(431, &[LAN, TOR]));
    println!(
        "over the LAN alone {alone_ms} ms, {alone_bytes} bytes; with Tor beside it {both_ms} ms, {both_bytes} bytes"
    );
    assert!(both_ms * 100 <= alone_ms * 85, "{both_ms} ms beside {alone_ms} ms");
    assert!(both_bytes * 100 <= alone_bytes * 110, "parts came twice: {both_bytes} beside {alone_bytes}");
}

#[test]
fn a_transfer_goes_on_over_another_link_where_it_stopped() {
    let (_, whole_bytes) = arrives(&mut writes_a_large_document(432, &[LAN]));
    let mut field = writes_a_large_document(432, &[LAN, TOR]);
    let bytes = field.cable_bytes();
    field.run(2 * SECOND);
    assert!(!has_it(&mut field), "it is under way");
    let before = field.cable_bytes() - bytes;
    field.cut_over(0, 1, Medium::Lan);
    let (_, after) = arrives(&mut field);
    println!("{before} bytes until the cut, {after} after it; {whole_bytes} without a cut");
    assert!(before > whole_bytes / 4, "{before} of {whole_bytes} bytes before the cut");
    assert!((before + after) * 100 <= whole_bytes * 130, "{before} and {after} of {whole_bytes} bytes");
}
