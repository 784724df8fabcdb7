//! OKLab: colours whose distances are about as large as they look.
//!
//! Björn Ottosson, "A perceptual color space for image processing", 2020.
//! L runs from 0 to 1, a and b from about -0.3 to 0.3. Darkening a colour (a
//! shadow) moves it straight towards the origin.

use super::plane::Plane;

pub type Lab = [f32; 3];

/// sRGB-encoded colours, 0 to 1, to OKLab.
pub fn from_srgb_plane(rgb: &Plane<[f32; 3]>) -> Plane<Lab> {
    let table = linear_table();
    rgb.map(|c| from_linear(c.map(|v| look_up(&table, v))))
}

/// As `from_srgb_plane`, but only where `wanted` is set; black elsewhere.
pub fn from_srgb_where(rgb: &Plane<[f32; 3]>, wanted: &Plane<bool>) -> Plane<Lab> {
    let table = linear_table();
    Plane::from_fn_parallel(rgb.width, rgb.height, |x, y| match wanted.at(x, y) {
        true => from_linear(rgb.at(x, y).map(|v| look_up(&table, v))),
        false => [0.0; 3],
    })
}

/// Linear sRGB to OKLab.
fn from_linear([r, g, b]: [f32; 3]) -> Lab {
    let l = cube_root(0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b);
    let m = cube_root(0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b);
    let s = cube_root(0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b);
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

const STEPS: usize = 1024;

/// Linear light for encoded values 0, 1 / STEPS, ... 1, and one more.
fn linear_table() -> Vec<f32> {
    (0..=STEPS + 1)
        .map(|i| {
            let v = i as f32 / STEPS as f32;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        })
        .collect()
}

fn look_up(table: &[f32], value: f32) -> f32 {
    let position = value.clamp(0.0, 1.0) * STEPS as f32;
    let index = position as usize;
    let t = position - index as f32;
    table[index] * (1.0 - t) + table[index + 1] * t
}

/// Two Newton steps from a guess by exponent: relative error below 1e-4, several
/// times faster than the exact function.
fn cube_root(v: f32) -> f32 {
    if v < 1e-9 {
        return 0.0;
    }
    let mut y = f32::from_bits(v.to_bits() / 3 + 0x2a51_4067);
    for _ in 0..2 {
        y = (2.0 * y + v / (y * y)) / 3.0;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(rgb: [f32; 3]) -> Lab {
        from_srgb_plane(&Plane::filled(1, 1, rgb)).data[0]
    }

    #[test]
    fn known_colours() {
        for (rgb, expected) in [
            ([1.0, 1.0, 1.0], [1.0, 0.0, 0.0]),
            ([1.0, 0.0, 0.0], [0.628, 0.225, 0.126]),
            ([0.0, 0.0, 1.0], [0.452, -0.032, -0.312]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ] {
            let found = lab(rgb);
            assert!((0..3).all(|c| (found[c] - expected[c]).abs() < 2e-3), "{rgb:?}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn cube_roots_are_close() {
        for i in 1..1000 {
            let v = i as f32 / 999.0;
            assert!((cube_root(v) / v.cbrt() - 1.0).abs() < 1e-4);
        }
    }
}
