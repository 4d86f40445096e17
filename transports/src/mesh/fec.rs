//! Reed-Solomon parity over the fragments of a block.
