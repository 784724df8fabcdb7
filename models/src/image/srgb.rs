//! sRGB bytes to linear light and back, by table.
//!
//! IEC 61966-2-1. Any byte survives the way there and back.

use std::sync::LazyLock;

/// Steps of linear light; fine enough that neighbouring dark bytes stay apart.
const STEPS: usize = 1 << 14;

static TO_LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let v = i as f64 / 255.0;
        (if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }) as f32
    })
});

static FROM_LINEAR: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..=STEPS).map(|i| (encoded(i as f64 / STEPS as f64) * 255.0).round() as u8).collect());

static EXACT: LazyLock<Vec<f32>> =
    LazyLock::new(|| (0..=STEPS).map(|i| (encoded(i as f64 / STEPS as f64) * 255.0) as f32).collect());

/// Linear light of an sRGB value, both 0..=1.
pub fn to_linear(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// All tables, for tight loops.
#[derive(Clone, Copy)]
pub struct Srgb {
    to_linear: &'static [f32; 256],
    from_linear: &'static [u8],
    /// Like `from_linear`, not rounded.
    exact: &'static [f32],
}

impl Srgb {
    pub fn tables() -> Self {
        Self { to_linear: &TO_LINEAR, from_linear: &FROM_LINEAR, exact: &EXACT }
    }

    /// 0..=1.
    pub fn to_linear(self, byte: u8) -> f32 {
        self.to_linear[byte as usize]
    }

    /// Nearest byte; values outside 0..=1 are clamped, NaN gives 0.
    pub fn from_linear(self, value: f32) -> u8 {
        self.from_linear[(value.clamp(0.0, 1.0) * STEPS as f32 + 0.5) as usize]
    }

    /// Like `from_linear`, rounded up or down so that an even spread of `noise`,
    /// 0..1, gives the right mean.
    pub fn dithered(self, value: f32, noise: f32) -> u8 {
        let exact = self.exact[(value.clamp(0.0, 1.0) * STEPS as f32 + 0.5) as usize];
        (exact + noise) as u8
    }
}

/// The encoded value, 0..=1, of linear light 0..=1.
pub fn encoded(v: f64) -> f64 {
    if v <= 0.0031308 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        let srgb = Srgb::tables();
        assert!((0..=255).all(|v| srgb.from_linear(srgb.to_linear(v)) == v));
        assert!((srgb.to_linear(188) - 0.5029).abs() < 1e-4);
        assert_eq!([-1.0, f32::NAN, 7.0].map(|v| srgb.from_linear(v)), [0, 0, 255]);
    }
}
