//! Radios on TCP and serial ports: reconnects, paces, reports.
