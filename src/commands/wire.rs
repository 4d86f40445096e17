//! The bytes of commands and answers, drawn in `FORMAT.md`. Sender and addressee are not sent: the session or pairwise
//! channel proves both, and the signature covers them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use super::deploy::Deploy;
use super::outcome::{CommandRefusal, OUTPUT_BYTES_MAX, Outcome, RunEnd, RunResult};
use crate::identity::{Keypair, SignatureBytes, verify};

/// First item of the signed array.
pub const COMMAND_DOMAIN: &str = "tombolo-command-1";
/// A command, bytes. A longer one is refused unread.
pub const COMMAND_BYTES_MAX: usize = 1024;
/// The longest answer to a command, in bytes.
pub const ANSWER_BYTES_MAX: usize = OUTPUT_BYTES_MAX + 256;

/// Names a command: 16 random bytes, or what a caller without our format names it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub [u8; 16]);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandId({self})")
    }
}

impl FromStr for CommandId {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| WireError)?;
        bytes.try_into().map(CommandId).map_err(|_| WireError)
    }
}

/// Bytes or text that are no command, answer or id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command")]
pub struct WireError;

/// The two nodes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandParties {
    /// The node that signs.
    pub sender: PeerId,
    /// The node that is asked.
    pub addressee: PeerId,
}

/// The life of a command, by its sender's clock, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandTimes {
    /// When it was made.
    pub made_s: u64,
    /// When it expires: from then on nothing is run.
    pub expires_s: u64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Asks the addressee to install an app.
    Deploy(Deploy),
    /// The kind is known, its arguments are not well-formed.
    Malformed(u64, Value),
    /// A kind of a later version.
    Unknown(u64, Value),
}

const DEPLOY: u64 = 0;

impl CommandKind {
    fn code(&self) -> u64 {
        match self {
            CommandKind::Deploy(_) => DEPLOY,
            CommandKind::Malformed(code, _) | CommandKind::Unknown(code, _) => *code,
        }
    }

    fn arguments(&self) -> Value {
        match self {
            CommandKind::Deploy(Deploy { id, version, marketplace_url }) => {
                Value::array([id.as_str(), version, marketplace_url])
            }
            CommandKind::Malformed(_, arguments) | CommandKind::Unknown(_, arguments) => arguments.clone(),
        }
    }

    fn read(code: u64, arguments: Value) -> Self {
        if code != DEPLOY {
            return CommandKind::Unknown(code, arguments);
        }
        let deploy = match arguments.as_array() {
            Some([id, version, marketplace]) => {
                match (id.as_text(), version.as_text(), marketplace.as_text()) {
                    (Some(id), Some(version), Some(marketplace)) => {
                        Deploy::new(id, version, marketplace).ok()
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        deploy.map_or(CommandKind::Malformed(code, arguments), CommandKind::Deploy)
    }
}

/// A command as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommand {
    /// By which a repetition is recognised.
    pub id: CommandId,
    /// When it was made, and when it expires.
    pub times: CommandTimes,
    /// What is asked for.
    pub kind: CommandKind,
    /// The signature of the sender over the other fields.
    pub signature: SignatureBytes,
}

impl SignedCommand {
    /// Signs a command to `addressee`.
    pub fn sign(
        keypair: &Keypair,
        addressee: PeerId,
        id: CommandId,
        times: CommandTimes,
        kind: CommandKind,
    ) -> Self {
        let parties = CommandParties { sender: keypair.peer_id(), addressee };
        let mut command = SignedCommand { id, times, kind, signature: [0; 64] };
        command.signature = keypair.sign(&command.signing_bytes(parties));
        command
    }

    /// Whether the sender signed it for the addressee.
    pub fn verify(&self, parties: CommandParties) -> bool {
        verify(&parties.sender, &self.signing_bytes(parties), &self.signature)
    }

    /// The bytes that the sender signs.
    pub fn signing_bytes(&self, parties: CommandParties) -> Vec<u8> {
        tombolo_delta::to_cbor(&Value::Array(vec![
            Value::from(COMMAND_DOMAIN),
            Value::Bytes(parties.sender.0.to_vec()),
            Value::Bytes(parties.addressee.0.to_vec()),
            Value::Bytes(self.id.0.to_vec()),
            Value::from(self.times.made_s),
            Value::from(self.times.expires_s),
            Value::from(self.kind.code()),
            self.kind.arguments(),
        ]))
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        tombolo_delta::to_cbor(&Value::Array(vec![
            Value::Bytes(self.id.0.to_vec()),
            Value::from(self.times.made_s),
            Value::from(self.times.expires_s),
            Value::from(self.kind.code()),
            self.kind.arguments(),
            Value::Bytes(self.signature.to_vec()),
        ]))
    }

    /// Reads a peer's bytes.
    ///
    /// # Errors
    /// The bytes are no command, or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let items = array(bytes, COMMAND_BYTES_MAX)?;
        let [id, made, expires, kind, arguments, signature] =
            <[Value; 6]>::try_from(items).map_err(|_| WireError)?;
        let fields = || {
            Some(SignedCommand {
                id: CommandId(id.as_bytes()?.try_into().ok()?),
                times: CommandTimes { made_s: made.as_u64()?, expires_s: expires.as_u64()? },
                kind: CommandKind::read(kind.as_u64()?, arguments),
                signature: signature.as_bytes()?.try_into().ok()?,
            })
        };
        fields().ok_or(WireError)
    }
}

/// What a receiver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// The command that it answers.
    pub id: CommandId,
    /// What became of it; `None`: it is taken, and runs.
    pub outcome: Option<Outcome>,
}

impl CommandAnswer {
    /// The bytes that travel, with at most so many bytes of output.
    pub fn encode(&self, output_max: usize) -> Vec<u8> {
        let mut items = vec![Value::Bytes(self.id.0.to_vec())];
        let number = |number: u8| Value::from(u64::from(number));
        match self.outcome.as_ref().map(|outcome| outcome.with_output_max(output_max)) {
            None => items.push(number(0)),
            Some(Outcome::Ended(RunResult { end, output })) => {
                let (kind, code) = end.code();
                items.extend([number(1), number(kind), number(code), Value::from(output)]);
            }
            Some(Outcome::Refused(why)) => items.extend([number(2), number(why.code())]),
            Some(Outcome::Unknown) => items.push(number(3)),
        }
        tombolo_delta::to_cbor(&Value::Array(items))
    }

    /// Reads a peer's bytes. A reason of a later version reads as [`CommandRefusal::Malformed`]: the command was refused,
    /// and why is not known here.
    ///
    /// # Errors
    /// The bytes are no answer, or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let items = array(bytes, ANSWER_BYTES_MAX)?;
        let read = || {
            let (id, rest) = items.split_first()?;
            let (status, rest) = rest.split_first()?;
            let outcome = match (status.as_u64()?, rest) {
                (0, []) => None,
                (1, [kind, number, output]) => {
                    let output =
                        output.as_text().filter(|output| output.len() <= OUTPUT_BYTES_MAX)?.to_owned();
                    let end = RunEnd::from_code(kind.as_u64()?, number.as_u64()?)?;
                    Some(Outcome::Ended(RunResult { end, output }))
                }
                (2, [why]) => {
                    let why = CommandRefusal::from_code(why.as_u64()?).unwrap_or(CommandRefusal::Malformed);
                    Some(Outcome::Refused(why))
                }
                (3, []) => Some(Outcome::Unknown),
                _ => return None,
            };
            Some(CommandAnswer { id: CommandId(id.as_bytes()?.try_into().ok()?), outcome })
        };
        read().ok_or(WireError)
    }
}

fn array(bytes: &[u8], bytes_max: usize) -> Result<Vec<Value>, WireError> {
    let limits = Limits { bytes_max, depth_max: 4, items_max: 32 };
    match tombolo_delta::from_cbor(bytes, &limits) {
        Ok(Value::Array(items)) => Ok(items),
        _ => Err(WireError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> (Keypair, Keypair, Keypair) {
        let key = |n| Keypair::from_seeds(&[n; 32], &[n + 100; 32]);
        (key(1), key(2), key(3))
    }

    const TIMES: CommandTimes = CommandTimes { made_s: 1_799_913_600, expires_s: 1_800_000_000 };

    fn command(from: &Keypair, to: &Keypair) -> SignedCommand {
        let kind = CommandKind::Deploy(Deploy::new("web", "1.2", "https://m.example").unwrap());
        SignedCommand::sign(from, to.peer_id(), CommandId([7; 16]), TIMES, kind)
    }

    #[test]
    fn a_command_holds_for_its_sender_and_addressee_only() {
        let (a, b, c) = keys();
        let signed = command(&a, &b);
        let read = SignedCommand::decode(&signed.encode()).unwrap();
        assert_eq!(read, signed);
        let between = |sender: &Keypair, addressee: &Keypair| CommandParties {
            sender: sender.peer_id(),
            addressee: addressee.peer_id(),
        };
        assert!(read.verify(between(&a, &b)));
        for wrong in [between(&a, &c), between(&c, &b), between(&b, &a), between(&a, &a)] {
            assert!(!read.verify(wrong));
        }
    }

    /// No field may be changed under a signature.
    #[test]
    fn every_field_is_signed() {
        let (a, b, _) = keys();
        let signed = command(&a, &b);
        let parties = CommandParties { sender: a.peer_id(), addressee: b.peer_id() };
        let other = Deploy::new("web", "1.3", "https://m.example").unwrap();
        let changed = [
            SignedCommand { id: CommandId([8; 16]), ..signed.clone() },
            SignedCommand { times: CommandTimes { made_s: TIMES.made_s + 1, ..TIMES }, ..signed.clone() },
            SignedCommand {
                times: CommandTimes { expires_s: TIMES.expires_s + 1, ..TIMES },
                ..signed.clone()
            },
            SignedCommand { kind: CommandKind::Deploy(other), ..signed.clone() },
            SignedCommand { kind: CommandKind::Unknown(1, signed.kind.arguments()), ..signed.clone() },
        ];
        assert!(changed.iter().all(|changed| !changed.verify(parties)));
    }

    /// A frame of a LoRa radio takes 217 bytes of payload: a usual command goes in one, the longest in a few.
    #[test]
    fn a_usual_command_fits_one_frame_and_the_longest_fits_its_limit() {
        let (a, b, _) = keys();
        assert!(command(&a, &b).encode().len() <= 140, "{}", command(&a, &b).encode().len());
        let longest = Deploy::new(&"a".repeat(64), &"1".repeat(64), &"x".repeat(256)).unwrap();
        let kind = CommandKind::Deploy(longest);
        let longest = SignedCommand::sign(
            &a,
            b.peer_id(),
            CommandId([255; 16]),
            CommandTimes { made_s: u64::MAX, expires_s: u64::MAX },
            kind,
        );
        assert!(longest.encode().len() <= COMMAND_BYTES_MAX);
        assert_eq!(SignedCommand::decode(&longest.encode()), Ok(longest));
    }

    #[test]
    fn later_kinds_and_bad_arguments_keep_their_signature() {
        let (a, b, _) = keys();
        let parties = CommandParties { sender: a.peer_id(), addressee: b.peer_id() };
        for kind in [
            CommandKind::Unknown(9, Value::array([1u64, 2])),
            CommandKind::Malformed(0, Value::array(["-rf", "1", ""])),
            CommandKind::Malformed(0, Value::Null),
        ] {
            let signed = SignedCommand::sign(
                &a,
                b.peer_id(),
                CommandId([1; 16]),
                CommandTimes { made_s: 4, expires_s: 5 },
                kind,
            );
            let read = SignedCommand::decode(&signed.encode()).unwrap();
            assert_eq!(read, signed);
            assert!(read.verify(parties));
        }
    }

    #[test]
    fn answers_read_back() {
        let ended = |end, output: &str| Some(Outcome::Ended(RunResult { end, output: output.to_owned() }));
        for outcome in [
            None,
            ended(RunEnd::Success, "done"),
            ended(RunEnd::Exit(1), ""),
            ended(RunEnd::TimedOut, &"ä".repeat(2048)),
            Some(Outcome::Refused(CommandRefusal::OtherMarketplace)),
            Some(Outcome::Unknown),
        ] {
            let answer = CommandAnswer { id: CommandId([3; 16]), outcome };
            let bytes = answer.encode(OUTPUT_BYTES_MAX);
            assert!(bytes.len() <= ANSWER_BYTES_MAX);
            assert_eq!(CommandAnswer::decode(&bytes), Ok(answer));
        }
        let long =
            CommandAnswer { id: CommandId([3; 16]), outcome: ended(RunEnd::Success, &"x".repeat(4096)) };
        assert!(long.encode(64).len() < 100, "on air the answer is one frame");
    }

    proptest! {
        #[test]
        fn nothing_panics_on_hostile_bytes(bytes: Vec<u8>) {
            let _ = SignedCommand::decode(&bytes);
            let _ = CommandAnswer::decode(&bytes);
        }
    }
}
