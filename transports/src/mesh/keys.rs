//! Audience keys, what is derived from them, boot epochs.
