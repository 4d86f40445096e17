//! The Meshtastic stream API, as bytes in and out.
