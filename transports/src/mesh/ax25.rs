//! AX.25 UI frames around a payload, with call signs.
