//! KISS: frames on a byte stream between a host and a TNC.
