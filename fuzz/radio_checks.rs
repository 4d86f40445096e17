//! What must hold of any bytes that a radio's port brings: shared by the fuzz targets and by the test that replays their
//! corpus. The first byte sets the portions in which the rest arrives.

use tombolo_mesh::wire::ax25::{HEADER_BYTES, UiFrame};
use tombolo_mesh::wire::{kiss, meshcore, meshtastic};

/// The same events however the bytes are cut, each within bounds; AX.25 and modem reports inside them read or refused.
pub(crate) fn kiss(input: &[u8]) {
    let events =
        both_ways(input, kiss::KissDecoder::default, kiss::KissDecoder::push, kiss::KissDecoder::next_event);
    for event in events {
        match event {
            kiss::Event::Data { port, bytes } => {
                assert!(port < 16 && !bytes.is_empty() && bytes.len() <= kiss::FRAME_BYTES_MAX);
                ax25(&bytes);
                let mut again = kiss::KissDecoder::default();
                again.push(&kiss::KissCommand::Data(&bytes).encode(port));
                assert_eq!(again.next_event(), Some(kiss::Event::Data { port, bytes }));
            }
            kiss::Event::Hardware { bytes } => {
                let _ = kiss::modem::ModemReport::parse(&bytes);
            }
        }
    }
}

fn ax25(bytes: &[u8]) {
    let Some(frame) = UiFrame::decode(bytes) else { return };
    assert!(frame.payload.len() + HEADER_BYTES <= bytes.len());
    assert_eq!(frame.source.to_string().parse(), Ok(frame.source));
    assert_eq!(UiFrame::decode(&frame.encode()), Some(frame));
}

/// The same events however the bytes are cut; what is given up leads on to what follows.
pub(crate) fn meshcore(input: &[u8]) {
    let decoder = meshcore::MeshcoreDecoder::default;
    for event in
        both_ways(input, decoder, meshcore::MeshcoreDecoder::push, meshcore::MeshcoreDecoder::next_event)
    {
        if let meshcore::Event::ChannelData { payload, .. } = event {
            assert!(payload.len() <= meshcore::BODY_BYTES_MAX);
        }
    }
    let mut decoder = decoder();
    decoder.push(input);
    while decoder.next_event().is_some() {}
    while decoder.held_bytes() > 0 {
        decoder.resync();
        while decoder.next_event().is_some() {}
    }
    decoder.push(&[0x3E, 1, 0, 10]);
    assert_eq!(decoder.next_event(), Some(meshcore::Event::NoMore));
}

/// The same events however the bytes are cut; what is given up leads on to what follows.
pub(crate) fn meshtastic(input: &[u8]) {
    let decoder = meshtastic::MeshtasticDecoder::default;
    for event in both_ways(
        input,
        decoder,
        meshtastic::MeshtasticDecoder::push,
        meshtastic::MeshtasticDecoder::next_event,
    ) {
        match event {
            meshtastic::Event::Packet(packet) => assert!(packet.payload.len() <= meshtastic::FRAME_BYTES_MAX),
            meshtastic::Event::NodeInfo { name: text, .. } | meshtastic::Event::Notification { text, .. } => {
                assert!(text.chars().count() <= meshtastic::TEXT_CHARS_MAX);
            }
            _ => {}
        }
    }
    let mut decoder = decoder();
    decoder.push(input);
    while decoder.next_event().is_some() {}
    while decoder.held_bytes() > 0 {
        decoder.resync();
        while decoder.next_event().is_some() {}
    }
    decoder.push(&[0x94, 0xC3, 0, 2, 0x38, 5]);
    assert_eq!(decoder.next_event(), Some(meshtastic::Event::ConfigComplete(5)));
}

/// The events of the bytes as a whole, which must be those of the bytes in portions.
fn both_ways<D, E: PartialEq + std::fmt::Debug>(
    input: &[u8],
    new: impl Fn() -> D,
    push: impl Fn(&mut D, &[u8]),
    next: impl Fn(&mut D) -> Option<E>,
) -> Vec<E> {
    // More than is held is dropped, on purpose, by how it is cut.
    let Some((step, bytes)) = input.split_first().filter(|(_, bytes)| bytes.len() < 32 << 10) else {
        return vec![];
    };
    let decode = |step: usize| {
        let (mut decoder, mut events) = (new(), vec![]);
        for part in bytes.chunks(step) {
            push(&mut decoder, part);
            events.extend(std::iter::from_fn(|| next(&mut decoder)));
        }
        events
    };
    let whole = decode(bytes.len().max(1));
    assert_eq!(whole, decode(usize::from(*step).max(1)));
    whole
}
