//! Whether the surface within a cell joins two of its loops by a tunnel.
//!
//! Within a cell the field is taken as trilinear. On each axis the planes in
//! which the zero set degenerates to two crossing lines are the roots of a
//! quadratic; together they span a box whose six corners off one diagonal lie on
//! the surface (the "inner hexagon" of Grosso, "Construction of topologically
//! correct and manifold isosurfaces", 2016). In box coordinates the field is
//! p (1-x)(1-y)(1-z) + q x y z. With p and q of one sign the box is free of
//! zeros: a tunnel of that sign leads through it. With different signs the
//! hexagon bounds a disc.

use glam::DVec3;

/// Least distance of the box from the cell's sides: its vertices must not meet those on edges.
const MARGIN: f64 = 1.0 / 1024.0;
/// Least thickness of the box; thinner tunnels are closed.
const THINNEST: f64 = 1.0 / 256.0;

#[derive(Debug, Clone, Copy)]
pub struct Tunnel {
    /// Closed ring on the surface around the tunnel, in cell coordinates 0..1.
    pub ring: [DVec3; 6],
    /// Along the tunnel.
    pub axis: DVec3,
    /// The tunnel is inside the solid: a bar; otherwise a hole.
    pub is_inside: bool,
}

/// `d` are the corners' values, positive inside, numbered as in cube.rs.
pub fn find(d: [f32; 8]) -> Option<Tunnel> {
    let largest = d.iter().fold(0.0f64, |most, v| most.max(v.abs() as f64));
    let d = d.map(|v| v as f64 / largest);
    let spans = [degenerate_planes(d, 0)?, degenerate_planes(d, 1)?, degenerate_planes(d, 2)?];
    if spans.iter().any(|&(low, high)| low < MARGIN || high > 1.0 - MARGIN || high - low < THINNEST) {
        return None;
    }
    let corner = |c: usize| {
        let pick = |axis: usize| if c >> axis & 1 == 1 { spans[axis].1 } else { spans[axis].0 };
        DVec3::new(pick(0), pick(1), pick(2))
    };
    let values: [f64; 8] = std::array::from_fn(|c| value_at(d, corner(c)));
    let off_surface = |c: usize| values[c].abs() + values[7 - c].abs();
    let p = (1..4).fold(0, |best, c| if off_surface(c) > off_surface(best) { c } else { best });
    (values[p] * values[7 - p] > 0.0).then(|| Tunnel {
        ring: [1, 3, 2, 6, 4, 5].map(|step| corner(p ^ step)),
        axis: corner(7 - p) - corner(p),
        is_inside: values[p] > 0.0,
    })
}

/// Trilinear interpolation.
pub fn value_at(d: [f64; 8], at: DVec3) -> f64 {
    let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
    let along_x: [f64; 4] = std::array::from_fn(|i| mix(d[2 * i], d[2 * i + 1], at.x));
    mix(mix(along_x[0], along_x[1], at.y), mix(along_x[2], along_x[3], at.y), at.z)
}

/// Where along `axis` the product of opposite corners of the section are equal, in order.
fn degenerate_planes(d: [f64; 8], axis: usize) -> Option<(f64, f64)> {
    let (u, v) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
    let line = |corner: usize| (d[corner], d[corner | 1 << axis] - d[corner]);
    let [(a, da), (b, db), (c, dc), (e, de)] = [line(0), line(u), line(u | v), line(v)];
    let square = da * dc - db * de;
    let linear = a * dc + c * da - b * de - e * db;
    let constant = a * c - b * e;
    let discriminant = linear * linear - 4.0 * square * constant;
    if discriminant <= 0.0 || square == 0.0 {
        return None;
    }
    // The sum of like signs loses no digits; the other root follows from their product.
    let sum = -0.5 * (linear + discriminant.sqrt().copysign(linear));
    let (first, second) = (sum / square, constant / sum);
    (first.is_finite() && second.is_finite()).then(|| (first.min(second), first.max(second)))
}
