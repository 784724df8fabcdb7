//! How much of the light from all around arrives, and how thick the body is.
//!
//! Rays spread by the cosine law, so the mean over them is what a uniformly bright sky
//! lights. The 16 texels of each 4 x 4 block send different rays: blocks
//! of 2^m points of the (0,2)-sequence (van der Corput and Sobol; Kollig and Keller,
//! "Efficient Multidimensional Sampling", 2002), each spread evenly by itself and
//! all 16 together. `blend` then takes the mean over the 4 x 4 texels around.
//! Every second texel goes first, like the dark squares of a chessboard: where none of
//! their rays is blocked, the other half is spared. What is missed so darkens by less
//! than about one of those rays in itself, 1/32 with 4 rays a texel.

use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::search::Search;

/// Texels along the side of a block whose rays differ.
const BLOCK: usize = 4;

pub struct Rays {
    /// For each texel of a block its directions around +Z, unit length.
    directions: Vec<Vec<Vec3>>,
}

impl Rays {
    /// `n` rays a texel, rounded up to a power of two.
    pub fn new(n: u32) -> Self {
        let n = n.next_power_of_two();
        let block = |i: usize| (i as u32 * n..(i as u32 + 1) * n).map(|k| cosine_direction(pair(k))).collect();
        Self { directions: (0..BLOCK * BLOCK).map(block).collect() }
    }

    /// The directions for texel (x, y), turned from +Z to `normal`.
    fn around(&self, x: u32, y: u32, normal: Vec3) -> impl ExactSizeIterator<Item = Vec3> {
        let (right, up) = normal.any_orthonormal_pair();
        let block = BLOCK as u32;
        self.directions[(y % block * block + x % block) as usize]
            .iter()
            .map(move |d| right * d.x + up * d.y + normal * d.z)
    }

    /// Calls `write` with the index of each texel that has a place, and the share of the
    /// sky, 0..=1, that it sees from there. Texels are row by row, `width` wide, from a row
    /// divisible by 4 on. What is farther than `distance` metres hides nothing.
    pub fn visibilities(
        &self,
        search: &Search,
        places: &[Option<Place>],
        width: usize,
        distance: f32,
        mut write: impl FnMut(usize, f32),
    ) {
        let height = places.len() / width;
        let corners = (0..height).step_by(BLOCK).flat_map(|y| (0..width).step_by(BLOCK).map(move |x| (x, y)));
        for (left, top) in corners {
            let block = || {
                let rows = top..(top + BLOCK).min(height);
                rows.flat_map(|y| (left..(left + BLOCK).min(width)).map(move |x| (x, y)))
            };
            let mut is_open = true;
            for (x, y) in block().filter(|&(x, y)| goes_first(x, y)) {
                let visibility = places[y * width + x]
                    .as_ref()
                    .map(|at| self.visibility(search, (x as u32, y as u32), at, distance));
                is_open &= visibility == Some(1.0);
                visibility.into_iter().for_each(|visibility| write(y * width + x, visibility));
            }
            for (x, y) in block().filter(|&(x, y)| !goes_first(x, y)) {
                if let Some(at) = &places[y * width + x] {
                    let texel = (x as u32, y as u32);
                    write(y * width + x, if is_open { 1.0 } else { self.visibility(search, texel, at, distance) });
                }
            }
        }
    }

    /// Of texel (x, y).
    fn visibility(&self, search: &Search, texel: (u32, u32), place: &Place, distance: f32) -> f32 {
        let rays = self.rays(search, texel, place);
        let n = rays.len() as f32;
        rays.filter(|&(origin, d)| !search.bvh.is_blocked(origin, d, distance)).count() as f32 / n
    }

    /// Origins and directions.
    fn rays(&self, search: &Search, texel: (u32, u32), at: &Place) -> impl ExactSizeIterator<Item = (Vec3, Vec3)> {
        let origin = at.position + at.face_normal * search.diagonal * OFFSET;
        let flat = at.face_normal;
        // Where the smooth normal leans over the flat triangle, rays into it count as those out of it.
        self.around(texel.0, texel.1, at.normal).map(move |d| (origin, d - flat * (2.0 * d.dot(flat).min(0.0))))
    }

    /// Mean length in metres, up to `most`, of rays into the body.
    pub fn thickness(&self, search: &Search, texel: (u32, u32), at: &Place, most: f32) -> f32 {
        let origin = at.position - at.face_normal * search.diagonal * OFFSET;
        let directions = self.around(texel.0, texel.1, -at.normal);
        let n = directions.len() as f32;
        let lengths = directions
            .map(|d| d - at.face_normal * (2.0 * d.dot(at.face_normal).max(0.0)))
            .map(|d| search.bvh.cast(origin, d, most, |_, _| true).map_or(most, |hit| hit.distance));
        lengths.sum::<f32>() / n
    }
}

fn goes_first(x: usize, y: usize) -> bool {
    (x + y).is_multiple_of(2)
}

/// Where rays start, on the high surface; its smooth normal and that of the triangle.
#[derive(Clone)]
pub struct Place {
    pub position: Vec3,
    pub normal: Vec3,
    pub face_normal: Vec3,
}

/// How far from the surface rays start, relative to the mesh's diagonal.
const OFFSET: f32 = 1e-5;

/// The mean of each known value over the 4 x 4 texels around it: those that belong to the same chart
/// and face about the same way. `charts` and `facing` are row by row, `width`
/// wide; `charts` is `u32::MAX` where nothing is known.
pub fn blend(values: &[u8], charts: &[u32], facing: &[[i8; 3]], width: usize) -> Vec<u8> {
    let height = values.len().checked_div(width).unwrap_or(0);
    let mut blended = vec![0; values.len()];
    blended.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
        for (x, out) in row.iter_mut().enumerate().filter(|(x, _)| charts[y * width + x] != u32::MAX) {
            let here = y * width + x;
            let (mut sum, mut n) = (0, 0);
            for v in y.saturating_sub(1)..(y + 3).min(height) {
                for i in v * width + x.saturating_sub(1)..v * width + (x + 3).min(width) {
                    if charts[i] == charts[here] && is_alike(facing[i], facing[here]) {
                        sum += u32::from(values[i]);
                        n += 1;
                    }
                }
            }
            *out = ((sum + n / 2) / n) as u8;
        }
    });
    blended
}

/// Whether two unit normals, times 127, differ by less than about 25 degrees.
fn is_alike(a: [i8; 3], b: [i8; 3]) -> bool {
    let dot: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b)).sum();
    dot > 127 * 127 * 9 / 10
}

/// The k-th point of the (0,2)-sequence, in 0..1.
fn pair(k: u32) -> Vec2 {
    let mut sobol = 0u32;
    let (mut bits, mut direction) = (k, 1u32 << 31);
    while bits != 0 {
        if bits & 1 == 1 {
            sobol ^= direction;
        }
        bits >>= 1;
        direction ^= direction >> 1;
    }
    // The 24 bits that f32 keeps, from the middle of the last step.
    let unit = |v: u32| ((v >> 9) as f32 + 0.5) / (1 << 23) as f32;
    Vec2::new(unit(k.reverse_bits()), unit(sobol))
}

/// Unit vector around +Z with a density of cosine / pi.
fn cosine_direction(at: Vec2) -> Vec3 {
    let (sin, cos) = (std::f32::consts::TAU * at.x).sin_cos();
    let radius = at.y.sqrt();
    Vec3::new(radius * cos, radius * sin, (1.0 - at.y).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_the_sequence_is_spread_evenly() {
        for (first, n) in [(0, 8u32), (8, 8), (120, 8), (0, 128), (48, 16)] {
            let points: Vec<Vec2> = (first..first + n).map(pair).collect();
            // Each way of cutting the square into n equal boxes has a point in each.
            for columns in (0..=n.ilog2()).map(|i| 1 << i) {
                let rows = n / columns;
                let mut seen = vec![0; n as usize];
                for p in &points {
                    seen[((p.y * rows as f32) as u32 * columns + (p.x * columns as f32) as u32) as usize] += 1;
                }
                assert!(seen.iter().all(|&n| n == 1), "{first}, {n}, {columns} columns: {seen:?}");
            }
        }
    }

    #[test]
    fn directions_follow_the_cosine_law() {
        let all: Vec<Vec3> = Rays::new(8).directions.concat();
        assert_eq!(all.len(), 128);
        let mean = all.iter().sum::<Vec3>() / 128.0;
        // The mean cosine is 2/3 and nothing leans sideways.
        assert!(mean.distance(Vec3::Z * 2.0 / 3.0) < 0.01, "{mean}");
        assert!(all.iter().all(|d| (d.length() - 1.0).abs() < 1e-5 && d.z > 0.0));
    }

    #[test]
    fn values_blend_within_a_chart_and_a_side_only() {
        let up = [0, 0, 127];
        let values: Vec<u8> = (0..64).map(|i| if i % 8 < 4 { 10 } else { 210 }).collect();
        let charts: Vec<u32> = (0..64).map(|i| u32::from(i % 8 >= 4)).collect();
        assert_eq!(blend(&values, &charts, &[up; 64], 8), values);
        let facing: Vec<[i8; 3]> = (0..64).map(|i| if i % 8 < 4 { up } else { [127, 0, 0] }).collect();
        assert_eq!(blend(&values, &[3; 64], &facing, 8), values);
        assert_eq!(blend(&values, &[3; 64], &[up; 64], 8)[8 * 3 + 3], 110);
        assert!(blend(&values, &[u32::MAX; 64], &[up; 64], 8).iter().all(|v| *v == 0));
    }
}
