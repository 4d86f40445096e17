//! Large answers. Each is held in memory until its client has read it, so there are few at a time: a further one waits, and holds nothing
//! meanwhile.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::time::{Instant, sleep};

use super::server::{Answer, failure};
use super::slots::{ClientId, Slot, Slots};
use crate::node::{Admin, Command, Query};

/// Large answers that are made or read at a time.
const PLACES: usize = 8;
/// Those of one client.
const PLACES_PER_CLIENT: usize = 6;
/// How long one waits for its place; then it is refused (`503`).
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it looks for one.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An answer that is shorter is held by no place.
const LARGE_BYTES: usize = 64 * 1024;

/// The places for large answers; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct AnswerPlaces(Slots);

impl Default for AnswerPlaces {
    fn default() -> Self {
        AnswerPlaces(Slots::new(PLACES, PLACES_PER_CLIENT))
    }
}

impl AnswerPlaces {
    /// A place for the answer to a command that may be large; none where it is short in any case.
    ///
    /// # Errors
    /// The answer of a server whose places are all taken for too long.
    pub(super) async fn take(
        &self,
        command: &Command,
        client: ClientId,
    ) -> Result<Option<Slot>, Box<Answer>> {
        if !may_be_large(command) {
            return Ok(None);
        }
        let until = Instant::now() + PLACE_WAIT_MAX;
        loop {
            if let Some(place) = self.0.take(client) {
                return Ok(Some(place));
            }
            if Instant::now() >= until {
                let message = "other large answers have not been read yet: read them, or repeat this request";
                return Err(Box::new(failure(StatusCode::SERVICE_UNAVAILABLE, "busy", message)));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn may_be_large(command: &Command) -> bool {
    match command {
        Command::Query(Query::Get { .. } | Query::Document { .. } | Query::Conflicts { .. })
        | Command::Admin(Admin::WriteBundle { .. }) => true,
        Command::Query(_) | Command::Admin(_) | Command::Write(_) => false,
    }
}

/// A body with the place that it takes until the last of it is written.
struct HeldBytes {
    bytes: Bytes,
    _place: Slot,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer that keeps its place until it is read. A short one gives it back.
pub(super) async fn held(answer: Answer, place: Slot) -> Answer {
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.unwrap_or_else(|never| match never {});
    let bytes = match collected.to_bytes() {
        short if short.len() < LARGE_BYTES => short,
        bytes => Bytes::from_owner(HeldBytes { bytes, _place: place }),
    };
    Answer::from_parts(head, Full::new(bytes).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place is free once the bytes are gone, not when the body has handed them over.
    #[tokio::test]
    async fn a_large_answer_keeps_its_place_until_its_bytes_are_gone() {
        let places = AnswerPlaces(Slots::new(1, 1));
        let query: Command = Query::Get { doc: "plan".into(), key: None }.into();
        let client = ClientId::Process(1);
        let answer_of = |bytes: usize| Answer::new(Full::new(Bytes::from(vec![0; bytes])).boxed_unsync());
        let place = places.take(&query, client).await.unwrap().unwrap();
        let short = held(answer_of(LARGE_BYTES - 1), place).await;
        let place = places.take(&query, client).await.unwrap().unwrap();
        let mut large = held(answer_of(LARGE_BYTES), place).await;
        let bytes = large.frame().await.unwrap().unwrap().into_data().unwrap();
        drop((short, large));
        assert!(places.0.take(client).is_none(), "its bytes wait to be written");
        drop(bytes);
        assert!(places.take(&query, client).await.unwrap().is_some());
        assert!(places.take(&Query::Id.into(), client).await.unwrap().is_none());
    }
}
