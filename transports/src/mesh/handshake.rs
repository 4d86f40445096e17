//! Joining with nothing but radios and an invite code: Noise IKpsk1.
