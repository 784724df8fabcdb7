//! A field of density and colour in space: what a reconstruction knows before there is a mesh.
//!
//! Three planes of features and a small decoder, as TripoSR makes them. A field needs no network
//! and no device: `surface` and `bake` ask it on any machine. It answers in the space of the
//! asset: right-handed, +Y up, front to +Z, metres, placed as its `Placement` says.

mod codec;

use std::{fmt, sync::Arc};

use glam::Vec3;
use meshkiln_ops::{self as ops, TriplaneDecoder, Triplanes};

use crate::error::StageError;

/// Features on three planes through the cube: [3, channels, side, side], row-major. Planes 0, 1
/// and 2 are looked up at (x, y), (x, z) and (y, z) of the decoder's axes, the first along rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    pub values: Vec<f32>,
    pub channels: usize,
    pub side: usize,
}

/// Layers from the features of the three planes, one plane after the other, to four outputs:
/// logarithm of density less its bias, and what the sigmoid makes red, green and blue of.
/// SiLU between layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    pub layers: Vec<DecoderLayer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DecoderLayer {
    /// [n_out, n_in], row-major.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Half the side of the cube, in units of the decoder.
    pub radius: f32,
    /// Added to the first output before `exp`.
    pub density_bias: f32,
    /// Density on the surface.
    pub threshold: f32,
}

/// How the asset lies in the decoder's cube, after its axes have been turned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Metres of the asset for a unit of the decoder.
    pub scale: f32,
    /// Point of the cube at the asset's origin.
    pub origin: Vec3,
}

/// What a field's answers are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// f32: for fields that were computed in f32.
    Exact,
    /// Two bf16 for each f32 where that is quicker: errors of 1e-5, far below those of a network
    /// in half precision.
    Quick,
}

/// What the stages after it are asked for, unless their settings say otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wishes {
    /// Of the asset, in metres.
    pub height: f32,
    /// Cells of the surface along the side of the cube.
    pub resolution: u32,
    /// Side of the texture, in texels.
    pub texture: u32,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes { height: 1.0, resolution: 256, texture: 1024 }
    }
}

#[derive(Clone)]
pub struct Field {
    planes: Arc<Planes>,
    decoder: Arc<Decoder>,
    pub scales: Scales,
    pub placement: Placement,
    pub wishes: Wishes,
    products: Products,
    /// Planes and decoder in the order in which they are read.
    packed: Arc<TriplaneDecoder>,
}

/// The same answers everywhere.
impl PartialEq for Field {
    fn eq(&self, other: &Field) -> bool {
        (&self.planes, &self.decoder, self.scales, self.placement, self.wishes, self.products)
            == (&other.planes, &other.decoder, other.scales, other.placement, other.wishes, other.products)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Planes { channels, side, .. } = *self.planes;
        write!(f, "Field({channels} x {side} x {side}, {:?}, {:?})", self.scales, self.placement)
    }
}

impl Placement {
    pub const IDENTITY: Placement = Placement { scale: 1.0, origin: Vec3::ZERO };

    /// From the cube to the asset.
    pub fn to_asset(&self, p: Vec3) -> Vec3 {
        (p - self.origin) * self.scale
    }

    /// From the asset to the cube.
    pub fn to_cube(&self, p: Vec3) -> Vec3 {
        p / self.scale + self.origin
    }
}

/// Our axes, +Y up and front to +Z, to the decoder's: +z up and front to +x.
pub fn to_decoder_axes(p: Vec3) -> Vec3 {
    Vec3::new(p.z, p.x, p.y)
}

/// The decoder's axes to ours.
pub fn from_decoder_axes(p: Vec3) -> Vec3 {
    Vec3::new(p.y, p.z, p.x)
}

/// Most features and widest layer.
const MAX_WIDTH: usize = 128;
/// Above this exponents of densities are cut, so that they stay finite.
const MAX_LOG_DENSITY: f32 = 80.0;

impl Field {
    /// Errors: sizes that do not fit each other, values that are not finite.
    pub fn new(planes: Planes, decoder: Arc<Decoder>, scales: Scales, products: Products) -> Result<Field, StageError> {
        let wrong = |what: String| Err(StageError::internal(what));
        let Planes { values, channels, side } = &planes;
        if values.len() != 3 * channels * side * side || values.is_empty() {
            return wrong(format!("{} values for planes of {channels} x {side} x {side}", values.len()));
        }
        let mut n_in = 3 * channels;
        for (i, DecoderLayer { weight, bias }) in decoder.layers.iter().enumerate() {
            if weight.len() != bias.len() * n_in {
                return wrong(format!("layer {i} has {} weights, not {} x {n_in}", weight.len(), bias.len()));
            }
            n_in = bias.len();
        }
        if n_in != 4 || decoder.layers.len() < 2 {
            return wrong(format!("the decoder has {} layers and {n_in} outputs, not 4", decoder.layers.len()));
        }
        let widest = decoder.layers.iter().map(|layer| layer.bias.len()).max().unwrap_or(0).max(3 * channels);
        if widest > MAX_WIDTH {
            return wrong(format!("the decoder is {widest} wide, more than {MAX_WIDTH}"));
        }
        let weights = decoder.layers.iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias));
        let Scales { radius, density_bias, threshold } = scales;
        if !values.iter().chain(weights).all(|v| v.is_finite()) || !density_bias.is_finite() {
            return wrong("the network gave values that are not finite".to_owned());
        }
        let is_positive = |v: f32| v.is_finite() && v > 0.0;
        if !is_positive(radius) || !is_positive(threshold) {
            return wrong(format!("a radius of {radius} and a threshold of {threshold} are not above 0"));
        }
        let (channels, side) = (*channels, *side);
        let given = Triplanes { planes: values, channels, height: side, width: side, radius };
        let layers = decoder.layers.iter().map(|DecoderLayer { weight, bias }| ops::DecoderLayer { weight, bias });
        let precision = match products {
            Products::Exact => ops::Precision::F32,
            Products::Quick => ops::Precision::Bf16x3,
        };
        let packed = TriplaneDecoder::new(&given, &layers.collect::<Vec<_>>(), precision);
        let (planes, packed) = (Arc::new(planes), Arc::new(packed));
        Ok(Field {
            planes,
            decoder,
            scales,
            placement: Placement::IDENTITY,
            wishes: Wishes::default(),
            products,
            packed,
        })
    }

    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// Two opposite corners of the cube, in metres of the asset.
    pub fn bounds(&self) -> (Vec3, Vec3) {
        let corner = Vec3::splat(self.scales.radius);
        (self.placement.to_asset(-corner), self.placement.to_asset(corner))
    }

    /// Densities at points of the asset, in metres; inside is above `scales.threshold`.
    pub fn densities(&self, points: &[Vec3]) -> Vec<f32> {
        self.log_densities(points).into_iter().map(f32::exp).collect()
    }

    /// Natural logarithms of the densities, cut at 80. They change more evenly than the
    /// densities themselves.
    pub fn log_densities(&self, points: &[Vec3]) -> Vec<f32> {
        let bias = self.scales.density_bias;
        let mut logs = vec![0.0; points.len()];
        self.packed.decode_first(&self.in_decoder_axes(points), &mut logs);
        logs.iter_mut().for_each(|log| *log = (*log + bias).min(MAX_LOG_DENSITY));
        logs
    }

    /// sRGB colours at points of the asset, in metres; 0..=1.
    pub fn colors(&self, points: &[Vec3]) -> Vec<[f32; 3]> {
        let raw = self.raw(&self.in_decoder_axes(points));
        raw.into_iter().map(|[_, rgb @ ..]| rgb.map(sigmoid)).collect()
    }

    /// The four outputs of the decoder at points in its own axes and units.
    pub fn raw(&self, points: &[Vec3]) -> Vec<[f32; 4]> {
        let mut out = vec![[0.0; 4]; points.len()];
        self.packed.decode(points, out.as_flattened_mut());
        out
    }

    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        let weights = self.decoder.layers.iter().map(|layer| layer.weight.len() + layer.bias.len());
        // Packed they are there once more.
        8 * (self.planes.values.len() + weights.sum::<usize>())
    }

    fn in_decoder_axes(&self, points: &[Vec3]) -> Vec<Vec3> {
        points.iter().map(|p| to_decoder_axes(self.placement.to_cube(*p))).collect()
    }
}

fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A ball of `radius` around the centre of the cube, of one colour: the planes hold
    /// parabolas, which the decoder adds up.
    pub fn ball(radius: f32) -> Field {
        let side = 64;
        let at = |i: usize| (i as f32 + 0.5) / side as f32 * 2.0 - 1.0;
        let plane: Vec<f32> = (0..side * side).map(|i| at(i / side).powi(2) + at(i % side).powi(2)).collect();
        let scales = Scales { radius: 0.87, density_bias: -1.0, threshold: 25.0 };
        // x^2 + y^2 twice over the three planes; steepness in logarithms of density.
        let steep = -10.0;
        let edge = 25f32.ln() + 1.0 - steep * 2.0 * (radius / 0.87).powi(2);
        let logit = |v: f32| (v / (1.0 - v)).ln();
        // Where SiLU is straight.
        const FAR: f32 = 32.0;
        let decoder = Decoder {
            layers: vec![
                DecoderLayer { weight: vec![1.0; 3], bias: vec![FAR] },
                DecoderLayer {
                    weight: vec![steep, 0.0, 0.0, 0.0],
                    bias: vec![edge - steep * FAR, logit(0.8), logit(0.5), logit(0.2)],
                },
            ],
        };
        Field::new(Planes { values: plane.repeat(3), channels: 1, side }, decoder.into(), scales, Products::Exact)
            .unwrap()
    }

    #[test]
    fn a_field_answers_where_its_asset_stands() {
        let mut field = ball(0.5);
        let density = |field: &Field, p: Vec3| field.densities(&[p])[0];
        assert!(density(&field, Vec3::X * 0.49) > 25.0 && density(&field, Vec3::X * 0.51) < 25.0);
        field.placement = Placement { scale: 2.0, origin: Vec3::new(0.0, -0.5, 0.0) };
        assert!(density(&field, Vec3::Y * 0.01) > 25.0 && density(&field, Vec3::Y * -0.01) < 25.0);
        assert!(density(&field, Vec3::Y * 1.99) > 25.0 && density(&field, Vec3::Y * 2.01) < 25.0);
        assert_eq!(field.bounds(), (Vec3::new(-1.74, -0.74, -1.74), Vec3::new(1.74, 2.74, 1.74)));
        let color = field.colors(&[Vec3::Y])[0];
        assert!(color.iter().zip([0.8, 0.5, 0.2]).all(|(a, b)| (a - b).abs() < 1e-6), "{color:?}");
    }

    #[test]
    fn axes_turn_there_and_back() {
        // The viewer of the picture stands on the decoder's +x, and sees +y right and +z up.
        assert_eq!(from_decoder_axes(Vec3::X), Vec3::Z);
        assert_eq!(from_decoder_axes(Vec3::Y), Vec3::X);
        assert_eq!(from_decoder_axes(Vec3::Z), Vec3::Y);
        let p = Vec3::new(1.0, 2.0, 3.0);
        assert_eq!(to_decoder_axes(from_decoder_axes(p)), p);
    }

    #[test]
    fn sizes_that_do_not_fit_and_numbers_that_are_none_are_refused() {
        let good = ball(0.5);
        let with = |change: &dyn Fn(&mut Planes, &mut Decoder, &mut Scales)| {
            let (mut planes, mut decoder, mut scales) =
                (Planes::clone(&good.planes), Decoder::clone(&good.decoder), good.scales);
            change(&mut planes, &mut decoder, &mut scales);
            Field::new(planes, decoder.into(), scales, Products::Exact)
        };
        assert_eq!(with(&|_, _, _| ()).unwrap(), good);
        assert!(with(&|planes, _, _| planes.side = 63).is_err());
        assert!(with(&|planes, _, _| planes.values[5] = f32::NAN).is_err());
        assert!(with(&|_, decoder, _| decoder.layers.clear()).is_err());
        assert!(with(&|_, decoder, _| decoder.layers[1].bias.truncate(3)).is_err());
        assert!(with(&|_, _, scales| scales.radius = 0.0).is_err());
    }

    #[test]
    fn a_field_survives_its_blob() {
        let mut field = ball(0.4);
        field.placement = Placement { scale: 1.5, origin: Vec3::new(0.1, 0.2, 0.3) };
        let bytes = field.to_bytes().unwrap();
        assert_eq!(Field::from_bytes(&bytes).unwrap(), field);
        assert_eq!(field.to_bytes().unwrap(), bytes);
        assert!(Field::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
