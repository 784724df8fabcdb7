//! Triangles over a picture: all of it, or what a cutout shows.

use std::collections::HashMap;

use ::image::RgbaImage;
use glam::Vec2;

use crate::{
    error::StageError,
    mesh::{outline, silhouette::Silhouette},
};

/// How far points are moved off the lattice, in cells: triangles keep their turn up to a quarter.
const SHAKE: f32 = 0.18;

pub struct Sheet {
    /// In pixels of the picture: x to the right, y down.
    pub points: Vec<Vec2>,
    /// Counter-clockwise as seen in the picture.
    pub triangles: Vec<[u32; 3]>,
    /// Closed rows of border points, in the order of the triangles' edges: around the outside
    /// counter-clockwise, around holes clockwise.
    pub loops: Vec<Vec<u32>>,
    /// Pairs of triangles that a diagonal parts: each from `triangles[i]` and `triangles[i + 1]`.
    squares: Vec<usize>,
    /// Side of a cell, in pixels.
    pub cell: f32,
    /// Border points where walls meet at an angle.
    pub corners: Vec<u32>,
}

impl Sheet {
    /// The whole picture of `size` pixels, `subdivisions` cells along its longer side.
    pub fn rectangle(size: Vec2, subdivisions: usize) -> Sheet {
        let cell = size.max_element() / subdivisions as f32;
        let [columns, rows] = [size.x, size.y].map(|side| ((side / cell).round() as usize).max(1));
        let stride = columns + 1;
        let at = |x: usize, y: usize| (y * stride + x) as u32;
        let cells = Vec2::new(columns as f32, rows as f32);
        let points = (0..=rows).flat_map(|y| (0..=columns).map(move |x| Vec2::new(x as f32, y as f32)));
        let (mut triangles, mut squares) = (Vec::with_capacity(2 * columns * rows), Vec::new());
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            squares.push(triangles.len());
            triangles.extend(halves([at(x, y), at(x, y + 1), at(x + 1, y + 1), at(x + 1, y)]));
        }
        let corners = vec![at(0, 0), at(0, rows), at(columns, rows), at(columns, 0)];
        let mut sheet = Sheet {
            points: points.map(|p| p / cells * size).collect(),
            loops: Vec::new(),
            triangles,
            squares,
            cell,
            corners,
        };
        sheet.loops = loops(&sheet.triangles);
        sheet
    }

    /// What the cutout shows, `subdivisions` cells along the object's longer side.
    ///
    /// Errors: a cutout that shows nothing.
    pub fn of_outline(cutout: &RgbaImage, subdivisions: usize) -> Result<Sheet, StageError> {
        let silhouette = Silhouette::of(cutout, subdivisions)?;
        // Lattices of large pictures are finer than asked for; cells stay powers of two of theirs.
        let step = 1 << ((silhouette.extent as f32 / subdivisions as f32).log2().round().clamp(0.0, 4.0) as usize);
        let (columns, rows) = ((silhouette.width - 1) / step, (silhouette.height - 1) / step);
        let at = |x: usize, y: usize| (y * step * silhouette.width + x * step) as u32;
        let inside = |x: usize, y: usize| silhouette.is_inside(x * step, y * step);
        let mut tiling = Vec::new();
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let around = |i: usize, n: usize| i.saturating_sub(1)..=(i + 2).min(n);
            if around(y, rows).any(|y| around(x, columns).any(|x| inside(x, y))) {
                tiling.extend(halves([at(x, y), at(x, y + 1), at(x + 1, y + 1), at(x + 1, y)]));
            }
        }
        let cut = outline::cut(&silhouette, &tiling);
        let pixel = |p: &Vec2| (silhouette.origin + p.as_dvec2() * silhouette.spacing).as_vec2();
        let loops = loops(&cut.triangles);
        Ok(Sheet {
            points: cut.points.iter().map(pixel).collect(),
            triangles: cut.triangles,
            loops,
            squares: Vec::new(),
            cell: (silhouette.spacing * step as f64) as f32,
            corners: Vec::new(),
        })
    }

    /// Least and largest place of a point.
    pub fn bounds(&self) -> (Vec2, Vec2) {
        let first = self.points.first().copied().unwrap_or_default();
        self.points.iter().fold((first, first), |(low, high), p| (low.min(*p), high.max(*p)))
    }

    /// Moves inner points off the lines of the lattice, by up to `SHAKE` of a cell. Three points of a
    /// line have no area on the texture, however far apart their heights are, and `simplify` would make
    /// triangles of them. The same for the same sheet.
    pub fn shake(&mut self) {
        let mut near_border = vec![false; self.points.len()];
        self.loops.iter().flatten().for_each(|v| near_border[*v as usize] = true);
        let on_border = near_border.clone();
        for triangle in self.triangles.iter().filter(|t| t.iter().any(|v| on_border[*v as usize])) {
            triangle.iter().for_each(|v| near_border[*v as usize] = true);
        }
        let reach = SHAKE * self.cell;
        for (i, point) in self.points.iter_mut().enumerate().filter(|(i, _)| !near_border[*i]) {
            // SplitMix64's finish (Steele, Lea, Flood, 2014) of the point's number, its halves to -1..1.
            let mut bits = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let share = |half: u32| half as f32 / 2f32.powi(31) - 1.0;
            *point += Vec2::new(share((bits >> 32) as u32), share(bits as u32)) * reach;
        }
    }

    /// Parts each square of a rectangle along the diagonal that `heights` change less along: ridges
    /// and valleys do not become saws.
    pub fn turn_diagonals(&mut self, heights: &[f32]) {
        let rise = |a: u32, b: u32| (heights[a as usize] - heights[b as usize]).abs();
        for &i in &self.squares {
            let ([a, b, c], [_, _, d]) = (self.triangles[i], self.triangles[i + 1]);
            if rise(b, d) < rise(a, c) {
                self.triangles[i] = [a, b, d];
                self.triangles[i + 1] = [b, c, d];
            }
        }
    }
}

/// A square as two triangles that share its first and third corner.
fn halves([a, b, c, d]: [u32; 4]) -> [[u32; 3]; 2] {
    [[a, b, c], [a, c, d]]
}

/// The border of triangles that agree on a direction, as closed rows of points.
fn loops(triangles: &[[u32; 3]]) -> Vec<Vec<u32>> {
    let edges = |t: &[u32; 3]| [(t[0], t[1]), (t[1], t[2]), (t[2], t[0])];
    let all: std::collections::HashSet<(u32, u32)> = triangles.iter().flat_map(edges).collect();
    let border = triangles.iter().flat_map(edges).filter(|(a, b)| !all.contains(&(*b, *a)));
    let mut next: HashMap<u32, u32> = border.clone().collect();
    let mut found = Vec::new();
    // In the order of the triangles: the same for the same sheet.
    for (start, _) in border {
        let mut row = Vec::new();
        let mut at = start;
        while let Some(to) = next.remove(&at) {
            row.push(at);
            at = to;
        }
        if !row.is_empty() {
            found.push(row);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::test_support::draw;

    /// Twice the area, positive where it is counter-clockwise as seen in the picture.
    fn area(sheet: &Sheet, row: &[u32]) -> f32 {
        let p = |i: usize| sheet.points[row[i % row.len()] as usize];
        (0..row.len()).map(|i| -p(i).perp_dot(p(i + 1))).sum::<f32>()
    }

    #[test]
    fn a_rectangle_is_covered_once_and_has_one_border() {
        let sheet = Sheet::rectangle(Vec2::new(300.0, 200.0), 30);
        assert_eq!((sheet.points.len(), sheet.triangles.len(), sheet.loops.len()), (31 * 21, 2 * 600, 1));
        let total: f32 = sheet.triangles.iter().map(|t| area(&sheet, t)).sum();
        assert!(sheet.triangles.iter().all(|t| area(&sheet, t) > 0.0) && (total - 2.0 * 60_000.0).abs() < 1.0);
        assert!(sheet.loops[0].len() == 100 && (area(&sheet, &sheet.loops[0]) - 120_000.0).abs() < 1.0);
        assert!(sheet.corners.iter().all(|corner| sheet.loops[0].contains(corner)));
    }

    #[test]
    fn shaken_points_lie_on_no_line_and_no_triangle_turns_over() {
        let mut sheet = Sheet::rectangle(Vec2::new(300.0, 200.0), 30);
        let before = sheet.points.clone();
        sheet.shake();
        assert!(sheet.triangles.iter().all(|t| area(&sheet, t) > 30.0));
        let at = |x: usize, y: usize| sheet.points[y * 31 + x];
        let bent = |a: Vec2, b: Vec2, c: Vec2| (b - a).perp_dot(c - a).abs();
        let inner = (3..27).flat_map(|x| (3..17).map(move |y| (x, y)));
        let threes = inner.flat_map(|(x, y)| {
            [(1, 0), (0, 1), (1, 1)].map(|(dx, dy)| bent(at(x - dx, y - dy), at(x, y), at(x + dx, y + dy)))
        });
        let threes: Vec<f32> = threes.collect();
        // Twice the area of a cell is 200 square pixels.
        let flat = threes.iter().filter(|area| **area < 1.0).count();
        assert!(threes.iter().all(|area| *area > 0.0) && flat * 20 < threes.len(), "{flat} of {}", threes.len());
        assert!(sheet.loops[0].iter().all(|v| sheet.points[*v as usize] == before[*v as usize]));
    }

    #[test]
    fn diagonals_follow_a_ridge() {
        let mut sheet = Sheet::rectangle(Vec2::new(4.0, 4.0), 4);
        let heights: Vec<f32> = sheet.points.iter().map(|p| (p.x + p.y - 4.0).abs()).collect();
        sheet.turn_diagonals(&heights);
        // Every diagonal lies at one height: x + y is the same at both ends.
        for pair in sheet.triangles.chunks_exact(2) {
            let shared: Vec<u32> = pair[0].into_iter().filter(|v| pair[1].contains(v)).collect();
            assert!(heights[shared[0] as usize] == heights[shared[1] as usize]);
        }
        assert!(sheet.triangles.iter().all(|t| area(&sheet, t) > 0.0));
    }

    #[test]
    fn an_outline_with_a_hole_has_two_borders_close_to_it() {
        let centre = Vec2::splat(100.0);
        let ring = draw(200, 200, |p| (30.0..80.0).contains(&p.distance(centre)));
        for subdivisions in [40, 150] {
            let sheet = Sheet::of_outline(&ring, subdivisions).unwrap();
            assert_eq!(sheet.loops.len(), 2);
            assert!(sheet.triangles.iter().all(|t| area(&sheet, t) > 0.0));
            for row in &sheet.loops {
                let radius = if area(&sheet, row) > 0.0 { 80.0 } else { 30.0 };
                let off = |v: &u32| (sheet.points[*v as usize].distance(centre) - radius).abs();
                assert!(row.iter().map(off).fold(0.0, f32::max) < 0.6, "{radius}");
            }
        }
        assert!(Sheet::of_outline(&draw(20, 20, |_| false), 40).is_err());
    }
}
