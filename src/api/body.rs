//! Reads the body of a request. It has to arrive within some time, and all bodies together have a bounded memory: a client that drips, or
//! many that send at once, are refused and hold nothing.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::server::{Answer, BODY_BYTES_MAX, failure};

/// How long nothing of a body may arrive.
pub(crate) const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a whole body may take.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(120);
/// Bytes of all bodies that are being read or worked on.
pub(crate) const BODIES_BYTES_MAX: usize = 96 * 1024 * 1024;
/// The unit in which they are counted.
const UNIT_BYTES: usize = 1024;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is longer than any request needs.
    #[error("a body has at most {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// It did not arrive in time.
    #[error(
        "the body did not arrive: at most {} s between its parts, and {} s for all of it",
        BODY_PAUSE_MAX.as_secs(),
        BODY_TIME_MAX.as_secs()
    )]
    Slow,
    /// The memory for bodies is in use.
    #[error("other requests with large bodies are being worked on: repeat this one")]
    Busy,
    /// The connection broke, or what came is no body.
    #[error("the body broke off: {0}")]
    Broken(String),
}

impl BodyError {
    pub(super) fn answer(&self) -> Answer {
        let (status, code) = match self {
            BodyError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            BodyError::Slow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            BodyError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        failure(status, code, &self.to_string())
    }
}

/// The memory that all bodies share; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        BodyBudget(Arc::new(Semaphore::new(BODIES_BYTES_MAX / UNIT_BYTES)))
    }
}

/// A body in memory, with its share of the budget.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    pub(super) bytes: Vec<u8>,
    shares: Vec<tokio::sync::OwnedSemaphorePermit>,
    units: usize,
}

impl HeldBody {
    fn add(&mut self, bytes: &Bytes, budget: &BodyBudget) -> Result<(), BodyError> {
        let length = self.bytes.len() + bytes.len();
        if length > BODY_BYTES_MAX {
            return Err(BodyError::TooLong);
        }
        let units = length.div_ceil(UNIT_BYTES);
        let more = u32::try_from(units - self.units).expect("a body has at most 32 MiB");
        if more > 0 {
            let share = budget.0.clone().try_acquire_many_owned(more).map_err(|_| BodyError::Busy)?;
            match self.shares.first_mut() {
                Some(first) => first.merge(share),
                None => self.shares.push(share),
            }
            self.units = units;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads a whole body.
pub(super) async fn read<B>(body: B, budget: &BodyBudget) -> Result<HeldBody, BodyError>
where
    B: Body,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    read_within(body, budget, BODY_PAUSE_MAX, BODY_TIME_MAX).await
}

async fn read_within<B>(
    body: B,
    budget: &BodyBudget,
    pause_max: Duration,
    time_max: Duration,
) -> Result<HeldBody, BodyError>
where
    B: Body,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(BodyError::TooLong);
    }
    let mut body = std::pin::pin!(body);
    let end = Instant::now() + time_max;
    let mut held = HeldBody::default();
    loop {
        let pause = end.min(Instant::now() + pause_max);
        match timeout_at(pause, body.frame()).await.map_err(|_| BodyError::Slow)? {
            None => return Ok(held),
            Some(Err(error)) => return Err(BodyError::Broken(error.into().to_string())),
            // Trailers mean nothing here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    use hyper::body::Buf;
                    let mut data = data;
                    let bytes = data.copy_to_bytes(data.remaining());
                    held.add(&bytes, budget)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::sync::mpsc;

    type Part = Result<Frame<Bytes>, std::io::Error>;

    struct Parts(mpsc::Receiver<Part>);

    impl futures_core::Stream for Parts {
        type Item = Part;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            task: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Part>> {
            self.0.poll_recv(task)
        }
    }

    fn body() -> (mpsc::Sender<Part>, StreamBody<Parts>) {
        let (sender, parts) = mpsc::channel(64);
        (sender, StreamBody::new(Parts(parts)))
    }

    fn part(bytes: usize) -> Part {
        Ok(Frame::data(Bytes::from(vec![b'0'; bytes])))
    }

    #[tokio::test]
    async fn a_body_that_drips_for_ever_ends() {
        let [long, short] = [Duration::from_secs(60), Duration::from_millis(200)];
        let (sender, dripping) = body();
        let drips = tokio::spawn(async move {
            while sender.send(part(1)).await.is_ok() {
                tokio::time::sleep(short / 20).await;
            }
        });
        let whole = read_within(dripping, &BodyBudget::default(), long, short).await;
        assert!(matches!(whole, Err(BodyError::Slow)), "{whole:?}");
        drips.await.unwrap();
        let (_sender, silent) = body();
        let pause = read_within(silent, &BodyBudget::default(), short, long).await;
        assert!(matches!(pause, Err(BodyError::Slow)), "{pause:?}");
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_bounded_memory() {
        let budget = BodyBudget(Arc::new(Semaphore::new(3)));
        let (sender, parts) = body();
        for bytes in [1, 1_022, 1, 2_048] {
            sender.send(part(bytes)).await.unwrap();
        }
        drop(sender);
        let first = read(parts, &budget).await.unwrap();
        assert_eq!((first.bytes.len(), budget.0.available_permits()), (3_072, 0));
        let (sender, parts) = body();
        sender.send(part(1)).await.unwrap();
        assert!(matches!(read(parts, &budget).await, Err(BodyError::Busy)));
        drop(first);
        assert_eq!(budget.0.available_permits(), 3);
    }
}
