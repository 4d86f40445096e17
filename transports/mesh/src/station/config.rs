//! What a station is, and whether the band's rules allow it.

use crate::airtime::region::Rules;
use crate::airtime::{FRAME_BYTES_MAX, PhyRate};
use crate::frame::keys::{Identity, Mode};
use crate::frame::{FRAME_BYTES_MIN, PADDED_BYTES_MAX};
use crate::time::Millis;

/// The longest call sign, bytes.
pub const CALL_SIGN_BYTES_MAX: usize = 32;

/// What a station is.
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// The keys that this station signs and agrees with.
    pub us: Identity,
    /// Whether frames leave sealed, or signed and in clear.
    pub mode: Mode,
    /// The longest frame that the radio takes, 50 to 255.
    pub frame_bytes_max: usize,
    /// The shortest frame that the radio takes, at most [`PADDED_BYTES_MAX`]; 0 where any will do. Shorter ones are filled up.
    pub frame_bytes_min: usize,
    /// Required where the band is an amateur one.
    pub call_sign: Option<CallSign>,
    /// How fast bytes leave.
    pub line: PhyRate,
    /// 32 random bytes, **new at each start**: the boot epoch's salt comes of them.
    pub seed: [u8; 32],
}

/// The call sign and how often it must be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSign {
    /// As the licence has it: printable ASCII.
    pub text: String,
    /// Sent at least this often while there is traffic.
    pub every: Millis,
}

/// Why there is no station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StationError {
    /// Not between 50 and 255.
    #[error("frames of {frame_bytes_max} bytes: a radio has between {FRAME_BYTES_MIN} and {FRAME_BYTES_MAX}")]
    FrameSize {
        /// The frame size that was configured.
        frame_bytes_max: usize,
    },
    /// The smallest frame is larger than [`PADDED_BYTES_MAX`].
    #[error("no frame under {frame_bytes_min} bytes: frames are filled up to {PADDED_BYTES_MAX} at most")]
    FrameSizeMin {
        /// The smallest frame size that was configured.
        frame_bytes_min: usize,
    },
    /// The band's rules allow nothing to be hidden, and the mode is encrypted.
    #[error("nothing may be encrypted here ({rules}): the radio needs the clear mode")]
    ClearOnly {
        /// The regulation that forbids sealed frames.
        rules: &'static str,
    },
    /// The band's rules ask for a call sign, and there is none.
    #[error("a call sign must be sent here ({rules}), and none is set")]
    NoCallSign {
        /// The regulation that demands a call sign.
        rules: &'static str,
    },
    /// 2^32 starts: this identity sends no more.
    #[error("the numbers of boot epochs are used up")]
    EpochsUsedUp,
    /// Empty, too long, or not printable ASCII.
    #[error("the call sign is empty, longer than {CALL_SIGN_BYTES_MAX} bytes, or not printable ASCII")]
    CallSign,
}

impl StationConfig {
    /// Whether the radio and the band's rules allow it. Returns the call sign, which goes as often as the rules ask for.
    pub(super) fn check(&self, rules: Option<&Rules>) -> Result<Option<CallSign>, StationError> {
        let StationConfig { frame_bytes_max, frame_bytes_min, .. } = *self;
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame_bytes_max) {
            return Err(StationError::FrameSize { frame_bytes_max });
        }
        if frame_bytes_min > PADDED_BYTES_MAX {
            return Err(StationError::FrameSizeMin { frame_bytes_min });
        }
        if self.call_sign.as_ref().is_some_and(|call_sign| !is_call_sign(&call_sign.text)) {
            return Err(StationError::CallSign);
        }
        obey(rules, self.mode, self.call_sign.clone())
    }
}

/// Applies the band's rules to the mode and the call sign, which goes as often as they ask for.
fn obey(
    rules: Option<&Rules>,
    mode: Mode,
    call_sign: Option<CallSign>,
) -> Result<Option<CallSign>, StationError> {
    let Some(rules) = rules else { return Ok(call_sign) };
    if rules.clear_only && mode == Mode::Encrypted {
        return Err(StationError::ClearOnly { rules: rules.source });
    }
    match (call_sign, rules.call_sign_every) {
        (None, Some(_)) => Err(StationError::NoCallSign { rules: rules.source }),
        (Some(CallSign { text, every }), Some(required)) => {
            Ok(Some(CallSign { text, every: every.min(required) }))
        }
        (call_sign, None) => Ok(call_sign),
    }
}

fn is_call_sign(text: &str) -> bool {
    (1..=CALL_SIGN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
