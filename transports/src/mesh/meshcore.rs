//! The MeshCore companion protocol, as bytes in and out.
