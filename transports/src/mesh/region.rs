//! Band plans: what each regulation allows.
