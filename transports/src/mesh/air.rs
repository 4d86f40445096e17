//! The emulated channel: many radios on one frequency, on virtual time.
