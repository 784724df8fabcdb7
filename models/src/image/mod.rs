//! Pictures: decoding what users have, and pixel arithmetic.
//!
//! Pixels are 8-bit sRGB with straight alpha, row by row from the top left.

pub mod color;
pub mod complete;
pub mod decode;
pub mod fill;
pub mod png_io;
pub mod resize;
pub mod sniff;
pub mod srgb;
