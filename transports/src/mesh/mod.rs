//! Radio: so far what a frame costs on air. Frames, keys and drivers come into this folder with the links
//! themselves.

pub mod airtime;
