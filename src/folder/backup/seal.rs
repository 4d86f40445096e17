//! The body of a backup under a passphrase, in pieces that can be read one by one.
//!
//! ```text
//! key    argon2id(passphrase, salt): 32 bytes; the salt is fresh for each file, so no key is used for two files
//! piece  ChaCha20-Poly1305 of at most 65,536 bytes, with its tag (16); nonce: 3 zero bytes, number of the piece (u64), 1 if it is the last
//! ```
//!
//! This is the STREAM construction: a piece that is left out, repeated, moved or cut off does not open.

use std::io::{self, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use zeroize::Zeroizing;

use super::BackupError;

/// Bytes of a piece before it is sealed.
const PIECE_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Memory that deriving the key takes here: what a Raspberry Pi has to spare, and what makes guessing slow.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// Memory that a file may ask for: another may have been made on a larger machine, and none may exhaust this one.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// The key of one file.
pub(super) type FileKey = Zeroizing<[u8; 32]>;

/// How a key is derived from a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Sealing {
    /// Draws a fresh salt from the system.
    pub(super) fn draw() -> Result<Self, BackupError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(BackupError::Random)?;
        Ok(Sealing { salt, memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES })
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        [&self.salt[..], &numbers.concat()].concat()
    }

    pub(super) fn read(file: &mut impl Read) -> Result<Self, BackupError> {
        let mut salt = [0; 16];
        file.read_exact(&mut salt).map_err(|_| BackupError::Damaged("it ends too early"))?;
        let mut number = || -> Result<u32, BackupError> {
            let mut bytes = [0; 4];
            file.read_exact(&mut bytes).map_err(|_| BackupError::Damaged("it ends too early"))?;
            Ok(u32::from_be_bytes(bytes))
        };
        let sealing = Sealing { salt, memory_kib: number()?, passes: number()?, lanes: number()? };
        let is_within = sealing.memory_kib <= MEMORY_KIB_MAX
            && (1..=PASSES_MAX).contains(&sealing.passes)
            && (1..=LANES_MAX).contains(&sealing.lanes);
        if is_within {
            Ok(sealing)
        } else {
            Err(BackupError::Damaged("its passphrase asks for too much memory"))
        }
    }

    pub(super) fn key(&self, passphrase: &str) -> Result<FileKey, BackupError> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_| BackupError::Damaged("how its passphrase is used does not read"))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, &mut *key)
            .map_err(|_| BackupError::Damaged("how its passphrase is used does not read"))?;
        Ok(key)
    }
}

fn nonce(piece: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    let (_, rest) = nonce.split_at_mut(3);
    let (number, last) = rest.split_at_mut(8);
    number.copy_from_slice(&piece.to_be_bytes());
    last.fill(u8::from(is_last));
    nonce.into()
}

/// Seals what is written to it.
pub(super) struct SealingWriter<W> {
    inner: W,
    cipher: ChaCha20Poly1305,
    piece: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> SealingWriter<W> {
    pub(super) fn new(inner: W, key: FileKey) -> Self {
        let piece = Zeroizing::new(Vec::with_capacity(PIECE_BYTES + TAG_BYTES));
        SealingWriter { inner, cipher: ChaCha20Poly1305::new((&*key).into()), piece, number: 0 }
    }

    fn seal_piece(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, is_last);
        self.cipher
            .encrypt_in_place(&nonce, b"", &mut *self.piece)
            .map_err(|_| io::Error::other("a piece was not sealed"))?;
        self.number += 1;
        self.inner.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Seals the last piece.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal_piece(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for SealingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full piece waits: it may be the last.
        if self.piece.len() == PIECE_BYTES && !bytes.is_empty() {
            self.seal_piece(false)?;
        }
        let room = (PIECE_BYTES - self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(bytes.get(..room).unwrap_or_default());
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what is read from it.
pub(super) struct OpenReader<R> {
    inner: R,
    cipher: ChaCha20Poly1305,
    piece: Zeroizing<Vec<u8>>,
    at: usize,
    number: u64,
    /// The first byte of the next piece, read ahead to know which is the last.
    ahead: Option<u8>,
    is_over: bool,
}

impl<R: Read> OpenReader<R> {
    /// Opens the first piece, which shows whether the passphrase is right.
    pub(super) fn open(inner: R, key: FileKey) -> Result<Self, BackupError> {
        let cipher = ChaCha20Poly1305::new((&*key).into());
        let piece = Zeroizing::new(Vec::new());
        let mut reader = OpenReader { inner, cipher, piece, at: 0, number: 0, ahead: None, is_over: false };
        reader.next_piece().map_err(|_| BackupError::Passphrase)?;
        Ok(reader)
    }

    fn next_piece(&mut self) -> io::Result<()> {
        let mut sealed = Zeroizing::new(Vec::with_capacity(PIECE_BYTES + TAG_BYTES));
        sealed.extend(self.ahead.take());
        let room = (PIECE_BYTES + TAG_BYTES - sealed.len()) as u64;
        (&mut self.inner).take(room).read_to_end(&mut sealed)?;
        let mut next = [0];
        self.ahead = (self.inner.read(&mut next)? == 1).then_some(next[0]);
        let is_last = self.ahead.is_none();
        let opened = self.cipher.decrypt_in_place(&nonce(self.number, is_last), b"", &mut *sealed);
        opened.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        (self.piece, self.at, self.is_over) = (sealed, 0, is_last);
        self.number += 1;
        Ok(())
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.is_over {
                return Ok(0);
            }
            self.next_piece()?;
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let count = left.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(left) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}
