//! Clear messages that do not fit one frame and come before any key: announcements and handshakes.

/// The numbered parts of one message, as they come.
#[derive(Debug)]
pub(crate) struct Parts(Vec<Option<Vec<u8>>>);

impl Parts {
    /// Of `count` parts, none here yet. The caller bounds the count.
    pub(crate) fn new(count: usize) -> Self {
        Parts(vec![None; count])
    }

    /// How many there will be.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many are here.
    pub(crate) fn held(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Takes one; a later one of the same number replaces it. The message, once all are here.
    pub(crate) fn put(&mut self, number: usize, part: &[u8]) -> Option<Vec<u8>> {
        *self.0.get_mut(number)? = Some(part.to_vec());
        let parts: Option<Vec<&[u8]>> = self.0.iter().map(Option::as_deref).collect();
        parts.map(|parts| parts.concat())
    }
}

/// The two bytes that distinguish the parts of two messages: the first of the BLAKE3 hash.
pub(crate) fn check(message: &[u8]) -> [u8; 2] {
    let [first, second, ..] = *blake3::hash(message).as_bytes();
    [first, second]
}
