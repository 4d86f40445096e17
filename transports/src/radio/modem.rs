//! What every radio's session looks like to the task that owns its port: bytes and frames in, [`Output`]s out.

use super::{RadioDownReason, RadioEvent};
use std::collections::VecDeque;
use tombolo_mesh::time::Mono;

/// What a session wants done, in this order.
#[derive(Debug)]
pub(super) enum Output {
    /// Bytes for the radio.
    Write(Vec<u8>),
    /// To the owner of the radio.
    Tell(RadioEvent),
    /// Close the port, and open it again.
    Fail(RadioDownReason),
}

/// A conversation with one radio, from the moment its port is open. Sans-io; times are instants of one clock that only
/// goes forward. After each call, drain with [`take`](Self::take); call [`tick`](Self::tick) at
/// [`timeout`](Self::timeout).
pub(super) trait Modem: Send {
    /// The port is open.
    fn connected(&mut self, now: Mono);
    /// Bytes came from the radio.
    fn received(&mut self, now: Mono, bytes: &[u8]);
    /// One frame to send; only after a `Ready`, and only one.
    fn send(&mut self, now: Mono, frame: Vec<u8>);
    /// Does what is due at `now`.
    fn tick(&mut self, now: Mono);
    /// When to call `tick`.
    fn timeout(&self) -> Option<Mono>;
    /// What to do next.
    fn take(&mut self) -> Option<Output>;
}

/// Outputs waiting to be taken: a call leaves a handful, since bytes come in bounded portions.
#[derive(Debug, Default)]
pub(super) struct ModemOutbox(VecDeque<Output>);

impl ModemOutbox {
    pub(super) fn write(&mut self, bytes: Vec<u8>) {
        self.0.push_back(Output::Write(bytes));
    }

    pub(super) fn tell(&mut self, event: RadioEvent) {
        self.0.push_back(Output::Tell(event));
    }

    pub(super) fn fail(&mut self, why: RadioDownReason) {
        self.0.push_back(Output::Fail(why));
    }

    pub(super) fn take(&mut self) -> Option<Output> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RadioUrl, session_of};
    use super::*;
    use proptest::prelude::*;

    const URLS: [&str; 5] = [
        "kiss+tcp://h",
        "kiss+tcp://h?call=N0CALL",
        "kiss+tcp://h?modem=meshcore",
        "meshcore+tcp://h",
        "meshtastic+tcp://h",
    ];

    #[derive(Clone, Debug)]
    enum Act {
        Hear(Vec<u8>),
        Wait,
        Send(usize),
    }

    /// KISS: reports of a modem, and a frame.
    const KISS: [&[u8]; 5] = [
        b"\xC0\x06\x97\xC0",
        b"\xC0\x06\xF8\x01\xC0",
        b"\xC0\x06\xF8\x00\xC0",
        b"\xC0\x06\xF1\x07\xC0",
        b"\xC0\x00the tide is out\xC0",
    ];

    /// MeshCore: done, queue full, bad values, something is waiting, a datagram, nothing left.
    const MESHCORE: [&[u8]; 6] = [
        b">\x01\x00\x00",
        b">\x02\x00\x01\x03",
        b">\x02\x00\x01\x06",
        b">\x01\x00\x83",
        b">\x0B\x00\x1B\0\0\0\x01\0\x74\xFF\x02hi",
        b">\x01\x00\x0A",
    ];

    /// Meshtastic: a packet taken, full, too large, out of air time; so many minutes; a restart. The packet is the first.
    const MESHTASTIC: [&[u8]; 6] = [
        b"\x94\xC3\0\x06\x5A\x04\x10\x10\x20\x07",
        b"\x94\xC3\0\x06\x5A\x04\x08\x20\x20\x07",
        b"\x94\xC3\0\x06\x5A\x04\x08\x07\x20\x07",
        b"\x94\xC3\0\x06\x5A\x04\x08\x09\x20\x07",
        b"\x94\xC3\0\x13\x82\x01\x10\x22\x0Eduty cycle 3 m",
        b"\x94\xC3\0\x02\x40\x01",
    ];

    /// What brings each radio up, one answer after the other.
    fn greeting(url: &str) -> Vec<Vec<u8>> {
        let framed = |body: &[u8]| [&[b'>', body.len() as u8, 0], body].concat();
        match url {
            "kiss+tcp://h?modem=meshcore" => vec![b"\xC0\x06\x97\xC0".to_vec()],
            "meshcore+tcp://h" => vec![
                framed(
                    &[&[5, 1, 22, 22], &[0; 44][..], &[18, 69, 13, 0], &[144, 208, 3, 0], &[10, 5]].concat(),
                ),
                framed(&[13, 11, 50, 8]),
                framed(&[&[18, 1], &[7; 48][..]].concat()),
            ],
            "meshtastic+tcp://h" => {
                vec![b"\x94\xC3\0\x04\x18\x01\x38\x01\x94\xC3\0\x04\x38\xAC\x9E\x04".to_vec()]
            }
            _ => vec![],
        }
    }

    /// What radios send, whole or in part, and noise.
    fn said() -> impl Strategy<Value = Vec<u8>> {
        let words = [&KISS[..], &MESHCORE, &MESHTASTIC].concat();
        prop_oneof![
            8 => prop::sample::select(words.clone()).prop_map(<[u8]>::to_vec),
            1 => (prop::sample::select(words), 1_usize..20).prop_map(|(word, cut)| word.iter().take(cut).copied().collect()),
            1 => prop::collection::vec(any::<u8>(), 0..60),
        ]
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => said().prop_map(Act::Hear),
            2 => Just(Act::Wait),
            2 => (20_usize..163).prop_map(Act::Send),
        ];
        prop::collection::vec(act, 0..200)
    }

    proptest! {
        /// Whatever a radio sends and when, its session neither panics nor spins, and it reports in order.
        #[test]
        fn a_session_bears_whatever_a_radio_says(url in prop::sample::select(URLS.to_vec()), acts in acts()) {
            let mut modem = session_of(&RadioUrl::parse(url).unwrap(), 7);
            let (mut now_ms, mut ready, mut up) = (0, false, false);
            modem.connected(Mono::from_ms(now_ms));
            let greeting = greeting(url).into_iter().map(Act::Hear);
            // Before the first byte there is what it sends by itself.
            for act in std::iter::once(Act::Hear(vec![])).chain(greeting).chain(acts) {
                match act {
                    Act::Hear(bytes) => modem.received(Mono::from_ms(now_ms), &bytes),
                    Act::Wait => if let Some(at_ms) = modem.timeout() {
                        now_ms = (at_ms.max(Mono::from_ms(now_ms))).ms();
                        modem.tick(Mono::from_ms(now_ms));
                    },
                    Act::Send(bytes) if ready => {
                        ready = false;
                        modem.send(Mono::from_ms(now_ms), vec![7; bytes]);
                    }
                    Act::Send(_) => {}
                }
                let mut rounds = 0;
                loop {
                    while let Some(output) = modem.take() {
                        match output {
                            Output::Write(bytes) => prop_assert!(bytes.len() < 600),
                            Output::Tell(RadioEvent::Up { .. }) => up = true,
                            Output::Tell(event) => {
                                prop_assert!(up, "{event:?} before it is up");
                                ready |= event == RadioEvent::Ready;
                            }
                            Output::Fail(_) => return Ok(()),
                        }
                    }
                    if modem.timeout().is_none_or(|at_ms| at_ms > Mono::from_ms(now_ms)) {
                        break;
                    }
                    rounds += 1;
                    prop_assert!(rounds < 10, "{url}: due again and again at {now_ms}");
                    modem.tick(Mono::from_ms(now_ms));
                }
            }
            prop_assert!(up, "{url} was greeted");
        }
    }
}
