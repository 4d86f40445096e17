//! The airtime ledger: no sliding hour ever holds more than the law allows.
