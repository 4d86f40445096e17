//! What a document's policy lets out, in clear and sealed; and who is removed.

use super::*;
use tombolo_mesh::frame::keys::Mode;

fn value(field: &mut Field, at: usize, doc: &str, key: &str) -> Option<String> {
    get(field, at, doc)?.get(key)?.as_text().map(str::to_owned)
}

#[test]
fn what_is_never_to_go_by_radio_does_not() {
    let (mut field, a, b) = parted(FieldConfig::new(5, PhyRate::lora(Modulation::SF7_125)));
    policy(&mut field, a, "secret", Some(RadioUse::Never), None);
    set(&mut field, a, "secret", "k", "second");
    set(&mut field, a, "notes", "k", "second");
    let came = field.run_until(Millis::from_ms(3_600_000), |field| {
        value(field, b, "notes", "k").as_deref() == Some("second")
    });
    assert!(came);
    field.run(Millis::from_ms(3_600_000));
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("first"));
    let about = Some(tombolo::identity::did(&field.peer_id(b)));
    let Some(Ok(Reply::Why(why))) = field.ask(a, Query::Why { about }) else { panic!("decisions") };
    let [kept_off] = &why[0].not_by_radio[..] else { panic!("{:?}", why[0].not_by_radio) };
    assert!(
        kept_off.ends_with("/secret does not go by radio: its owner's policy is `radio never`"),
        "{kept_off}"
    );
    field.connect(a, b);
    field.run(Millis::from_ms(60_000));
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("second"), "a cable still carries it");
}

#[test]
fn only_public_documents_go_out_in_clear() {
    let mut config = FieldConfig::new(6, PhyRate::lora(Modulation::SF7_125));
    config.mode = Mode::SignedClear;
    let (mut field, a, b) = parted(config);
    // It came by cable that outsiders may see the notes.
    field.connect(a, b);
    policy(&mut field, a, "notes", None, Some(false));
    field.run(Millis::from_ms(60_000));
    field.cut(a, b);
    set(&mut field, a, "notes", "k", "for all");
    set(&mut field, a, "secret", "k", "for few");
    let came = field.run_until(Millis::from_ms(7_200_000), |field| {
        value(field, b, "notes", "k").as_deref() == Some("for all")
    });
    assert!(came, "{:?}", field.ask(b, Query::Status));
    field.run(Millis::from_ms(7_200_000));
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("first"));
    let on_air: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    let contains = |text: &str| on_air.iter().any(|f| f.windows(text.len()).any(|w| w == text.as_bytes()));
    assert!(contains("for all") && !contains("for few"));
}

#[test]
fn who_is_removed_cannot_read_what_comes_after_and_the_others_can() {
    let mut field = sf7(7);
    let nodes: Vec<usize> = ["a", "b", "c"].iter().map(|name| field.add(name, true).unwrap()).collect();
    let [a, b, c] = nodes[..] else { panic!("three") };
    join(&mut field, a, b);
    join(&mut field, a, c);
    create(&mut field, a, "notes");
    set(&mut field, a, "notes", "k", "for three");
    let all = |field: &mut Field| {
        [b, c].iter().all(|n| value(field, *n, "notes", "k").as_deref() == Some("for three"))
    };
    assert!(field.run_until(Millis::from_ms(7_200_000), all), "three in step");
    let peer = tombolo::identity::did(&field.peer_id(c));
    assert!(matches!(field.ask(a, Admin::Remove { peer }), Some(Ok(_))));
    set(&mut field, a, "notes", "k", "for two");
    let came = field.run_until(Millis::from_ms(14_400_000), |field| {
        value(field, b, "notes", "k").as_deref() == Some("for two")
    });
    if !came {
        eprintln!("A: {:?}", field.ask(a, Query::Status));
        eprintln!("A: {:?}", field.ask(a, Query::Links));
        dump(&field);
    }
    assert!(came, "b has the new key: {:?} {:?}", field.ask(b, Query::Status), field.ask(a, Query::Airtime));
    field.run(Millis::from_ms(3_600_000));
    assert_eq!(value(&mut field, c, "notes", "k").as_deref(), Some("for three"));
}
