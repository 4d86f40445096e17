//! One radio's whole link layer, sans-io.
