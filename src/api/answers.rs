//! The memory of long answers: what a client has not read yet is held for it, within a share of what there is for all.
//!
//! Few long answers of one client are made at a time, so that few are made that have no room; a short one waits behind none. A client has a share; where all
//! room is taken, the connection with the oldest answer is closed of the client that holds most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::accept::ClientConnection;
use super::server::{Answer, failure};
use super::slots::ClientId;

/// Bytes of all long answers that are not read yet. A longer one goes alone.
const ANSWERS_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Those of one client.
const ANSWERS_PER_CLIENT_MAX: usize = 48 * 1024 * 1024;
/// From so many bytes on an answer is long.
const LONG_ANSWER_BYTES: usize = 64 * 1024;
/// How long an answer waits for others to be read, before the oldest gives way.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// How long it waits in all; then it is refused (`503`).
const ROOM_WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers of one client that may be long and are made at a time.
const TURNS_PER_CLIENT: usize = 4;

/// A turn of a client: only so many answers of it that may be long are made at a time.
pub(super) type Turn = OwnedSemaphorePermit;

/// The memory that the long answers of a server share; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerBudget {
    held: Arc<Mutex<HeldAnswers>>,
    freed: Arc<Notify>,
    turns: Arc<Mutex<BTreeMap<ClientId, Weak<Semaphore>>>>,
}

/// What an answer has to wait for.
enum NoRoom {
    /// Its client reads what it has asked for.
    OfClient,
    /// Others do.
    OfAll,
}

#[derive(Debug, Default)]
struct HeldAnswers {
    /// By number, so the oldest stands first.
    open: BTreeMap<u64, (usize, ClientConnection)>,
    last: u64,
}

impl HeldAnswers {
    fn bytes_of(&self, client: Option<ClientId>) -> usize {
        let of = self.open.values().filter(|(_, open)| client.is_none_or(|client| open.client() == client));
        of.map(|(bytes, _)| bytes).sum()
    }

    /// Takes in an answer of so many bytes, if it has room. One that finds none held goes in any case.
    fn take(&mut self, bytes: usize, connection: &ClientConnection) -> Result<u64, NoRoom> {
        let fits = |held: usize, max: usize| held == 0 || held + bytes <= max;
        if !fits(self.bytes_of(Some(connection.client())), ANSWERS_PER_CLIENT_MAX) {
            return Err(NoRoom::OfClient);
        }
        if !fits(self.bytes_of(None), ANSWERS_BYTES_MAX) {
            return Err(NoRoom::OfAll);
        }
        self.last += 1;
        self.open.insert(self.last, (bytes, connection.clone()));
        Ok(self.last)
    }

    /// Closes the connection of the oldest answer of the client that holds most.
    fn close_oldest(&self) {
        let clients = self.open.values().map(|(_, open)| open.client());
        let most = clients.max_by_key(|client| self.bytes_of(Some(*client)));
        let oldest = self.open.values().find(|(_, open)| Some(open.client()) == most);
        if let Some((_, connection)) = oldest {
            connection.close();
        }
    }
}

/// An answer in memory; its room is free again when it is dropped.
struct HeldBytes {
    bytes: Bytes,
    number: u64,
    budget: AnswerBudget,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        lock(&self.budget.held).open.remove(&self.number);
        self.budget.freed.notify_waiters();
    }
}

impl AnswerBudget {
    /// Waits until few other long answers of a client are made.
    pub(super) async fn turn(&self, client: ClientId) -> Turn {
        let turn = {
            let mut turns = lock(&self.turns);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(&client).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let fresh = Arc::new(Semaphore::new(TURNS_PER_CLIENT));
                turns.insert(client, Arc::downgrade(&fresh));
                fresh
            })
        };
        turn.acquire_owned().await.expect("nothing closes the semaphore")
    }

    /// Waits until these bytes have room. `None`: others are not read in time.
    pub(super) async fn hold(&self, bytes: Bytes, connection: &ClientConnection) -> Option<Bytes> {
        if bytes.len() < LONG_ANSWER_BYTES {
            return Some(bytes);
        }
        let end = Instant::now() + ROOM_WAIT_MAX;
        loop {
            let freed = self.freed.notified();
            let taken = lock(&self.held).take(bytes.len(), connection);
            let lacks = match taken {
                Ok(number) => {
                    return Some(Bytes::from_owner(HeldBytes { bytes, number, budget: self.clone() }));
                }
                Err(lacks) => lacks,
            };
            let pause = end.min(Instant::now() + READ_PAUSE);
            if timeout_at(pause, freed).await.is_err() {
                match lacks {
                    _ if pause == end => return None,
                    NoRoom::OfClient => {}
                    NoRoom::OfAll => lock(&self.held).close_oldest(),
                }
            }
        }
    }

    /// The same of a whole answer.
    pub(super) async fn hold_answer(&self, answer: Answer, connection: &ClientConnection) -> Answer {
        if answer.body().size_hint().lower() < LONG_ANSWER_BYTES as u64 {
            return answer;
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        match self.hold(body, connection).await {
            Some(body) => Answer::from_parts(head, Full::new(body).boxed_unsync()),
            None => {
                let message = "answers that are not read take all the memory for long ones: try again later";
                failure(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            }
        }
    }
}

/// Locks a table; a panic of another thread leaves it whole.
fn lock<T>(table: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(megabytes: usize) -> Bytes {
        Bytes::from(vec![0; megabytes * 1024 * 1024])
    }

    /// One client has its share; what it does not read gives way to another's answers, and what is read makes room.
    #[tokio::test(start_paused = true)]
    async fn answers_that_are_not_read_have_a_bounded_memory() {
        let budget = AnswerBudget::default();
        let [one, other, third] = [1, 2, 3].map(|pid| ClientConnection::of(ClientId::Process(pid)));
        let first = budget.hold(long(30), &one).await.unwrap();
        assert!(budget.hold(long(30), &one).await.is_none(), "its share is taken");
        assert!(budget.hold(Bytes::from_static(b"short"), &one).await.is_some());
        let second = budget.hold(long(40), &other).await.unwrap();
        let waits = tokio::spawn({
            let (budget, third) = (budget.clone(), third.clone());
            async move { budget.hold(long(40), &third).await }
        });
        // The client that holds most is closed, which drops its answer.
        other.closed().await;
        drop(second);
        assert_eq!(waits.await.unwrap().map(|bytes| bytes.len()), Some(40 * 1024 * 1024));
        drop(first);
        assert!(lock(&budget.held).open.is_empty());
        assert!(budget.hold(long(200), &one).await.is_some(), "one that finds none held");
    }

    #[tokio::test]
    async fn few_long_answers_of_one_client_are_made_at_a_time() {
        let budget = AnswerBudget::default();
        let one = ClientId::Process(1);
        let mut turns = Vec::new();
        for _ in 0..TURNS_PER_CLIENT {
            turns.push(budget.turn(one).await);
        }
        let _other = budget.turn(ClientId::Process(2)).await;
        let again = tokio::time::timeout(Duration::from_millis(20), budget.turn(one)).await;
        assert!(again.is_err());
        drop(turns);
        let _again = budget.turn(one).await;
    }
}
