//! What the radios that people own speak with their host, as bytes in and out.
//!
//! | module | protocol |
//! |---|---|
//! | [`framed`] | frames on a byte stream: one decoder for the three below |
//! | [`kiss`] | TNCs of packet radio; [`kiss::modem`] is the MeshCore firmware that speaks KISS |
//! | [`ax25`] | the frame inside KISS on amateur bands |
//! | [`meshcore`] | MeshCore companions |
//! | [`meshtastic`] | Meshtastic radios |
//!
//! Left out: when to send, what to do about a full queue, how to open the port. That is the driver's part.

pub mod ax25;
pub mod framed;
pub mod kiss;
pub mod meshcore;
pub mod meshtastic;
