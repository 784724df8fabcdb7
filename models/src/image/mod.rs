//! Pictures: decoding what users have, and pixel arithmetic.
//!
//! Pixels are 8-bit sRGB with straight alpha, row by row from the top left.

pub mod antialias;
pub mod color;
pub mod complete;
pub mod decode;
pub mod depth_map;
pub mod fill;
pub mod pil_resize;
pub mod png_io;
pub mod resize;
pub mod sniff;
pub mod srgb;

// Planes of numbers and colours.
pub mod oklab;
pub mod plane;

// The object and its background: in order of use.
pub mod barrier;
pub mod border;
pub mod classic;
pub mod components;
pub mod edge_color;
pub mod given_alpha;
pub mod grab_cut;
pub mod graph_cut;
pub mod ground;
pub mod guided_filter;
pub mod judge;
pub mod matte;
pub mod mixing;
pub mod mixture;
pub mod model;
pub mod surface;
