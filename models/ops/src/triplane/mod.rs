//! A field in three planes: looked up, and decoded by a small network, many points at a time.
//!
//! TripoSR (VAST-AI-Research/TripoSR, tsr/models/nerf_renderer.py, tsr/models/network_utils.py).
//! A point divided by `radius` is looked up in planes 0, 1, 2 at (x, y), (x, z), (y, z), the first
//! along the width: bilinear, texel centres at halves, -1 and 1 the outer edges, zero beyond.
//! The three lookups one after another go through layers with SiLU between them.
//! The lookup, all layers and their activations of a few dozen points stay in the first caches.

mod layers;
mod sample;

use glam::Vec3;
use rayon::prelude::*;

use super::{Isa, Precision, buffer::Aligned, simd::LANES, tile::SHORT_DEPTH};
use layers::Layers;

/// Planes as a network leaves them.
#[derive(Clone, Copy, Debug)]
pub struct Triplanes<'a> {
    /// `[3, channels, height, width]`.
    pub planes: &'a [f32],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Half the edge of the cube that the planes span, in the points' units.
    pub radius: f32,
}

/// A layer of the decoder as it stands in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLayer<'a> {
    /// `[n_out, n_in]`, row-major.
    pub weight: &'a [f32],
    /// `[n_out]`.
    pub bias: &'a [f32],
}

/// Planes and layers in the order in which they are read.
pub struct TriplaneDecoder {
    /// `[3][height][width][texel]`.
    planes: Aligned<f32>,
    channels: usize,
    /// Channels, and zeros up to a multiple of 16.
    texel: usize,
    height: usize,
    width: usize,
    radius: f32,
    layers: Layers,
    isa: Isa,
}

impl TriplaneDecoder {
    /// Packs planes and layers for this machine.
    ///
    /// `Bf16` rounds weights, lookups and activations but for the last layer's; looked up
    /// and added up is in f32.
    ///
    /// # Panics
    /// If sizes do not fit one another, a layer has more than 128 inputs or outputs, or there are fewer than two.
    pub fn new(planes: &Triplanes, layers: &[DecoderLayer], precision: Precision) -> Self {
        Self::for_isa(planes, layers, precision, Isa::best())
    }

    /// Packs for given instructions; for tests and comparisons.
    ///
    /// # Panics
    /// As `new`, and if this machine does not have them.
    pub fn for_isa(planes: &Triplanes, layers: &[DecoderLayer], precision: Precision, isa: Isa) -> Self {
        let &Triplanes { planes, channels, height, width, radius } = planes;
        assert!(isa.is_available(), "{isa:?} is not available here");
        let texels = height * width;
        assert!(
            texels > 0 && planes.len() == 3 * channels * texels,
            "{} numbers are not 3 planes of {channels} x {height} x {width}",
            planes.len()
        );
        assert!(3 * channels <= SHORT_DEPTH, "{channels} channels a plane, not up to {}", SHORT_DEPTH / 3);
        let texel = channels.next_multiple_of(LANES);
        let packed = Aligned::build(3 * texels * texel, texels * texel, |plane, to| {
            for (c, from) in planes[plane * channels * texels..].chunks_exact(texels).take(channels).enumerate() {
                to.chunks_exact_mut(texel).zip(from).for_each(|(to, &f)| to[c] = f);
            }
        });
        let layers = Layers::new(3 * channels, layers, precision, isa);
        TriplaneDecoder { planes: packed, channels, texel, height, width, radius, layers, isa }
    }

    /// Numbers per point that `decode` writes.
    pub fn n_out(&self) -> usize {
        self.layers.n_out()
    }

    /// The last layer's sums for every point, `[points, n_out]`: neither exponential nor sigmoid.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn decode(&self, points: &[Vec3], out: &mut [f32]) {
        self.run(points, self.n_out(), out);
    }

    /// Only the first of the last layer's sums for every point, `[points]`: the density before `exp`.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn decode_first(&self, points: &[Vec3], out: &mut [f32]) {
        self.run(points, 1, out);
    }

    fn run(&self, points: &[Vec3], n_out: usize, out: &mut [f32]) {
        assert!(out.len() == points.len() * n_out, "{} numbers for {} points", out.len(), points.len());
        let batch = self.layers.batch();
        points.par_chunks(batch).zip(out.par_chunks_mut(batch * n_out)).for_each(|(points, out)| {
            self.layers.run(points.len(), |features, stride| self.look_up(points, features, stride), n_out, out);
        });
    }
}

#[cfg(test)]
mod tests;
