//! Triangles over a silhouette's lattice: small along the outline, larger inside.
//!
//! In: a `Silhouette`, how coarse the outline may be, heights that guide the
//! diagonals. Out: triangles over lattice nodes, counter-clockwise as seen in
//! the picture, that cover the inside and every cell around the outline without
//! gaps or hanging nodes. They do not follow the outline yet: see `outline.rs`.
//!
//! A quadtree whose neighbouring cells differ by one level at most: how large a
//! cell may be grows with the distance from the outline.

use super::silhouette::{BLOCK, Silhouette};

/// A cell of level l has 2^l lattice cells a side.
const MAX_LEVEL: u8 = BLOCK.ilog2() as u8 - 1;
/// Cells one level above those on the outline may start this many of the
/// latter away, and so on. Level l + 1 has to start at least 2^l after level l,
/// or neighbours would differ by two levels.
const GROWTH: [u8; 5] = [0, 3, 8, 20, 48];
/// How far the outline may stray from a straight line within a cell, as a share of its side.
const STRAIGHT: f32 = 0.07;

/// `outline_level`: cells on the outline may be of this level where it is straight.
pub fn tile(silhouette: &Silhouette, heights: &[f32], outline_level: u8) -> Vec<[u32; 3]> {
    let (columns, rows) = (silhouette.width - 1, silhouette.height - 1);
    let allowed = allowed_levels(silhouette, columns, rows, outline_level.min(MAX_LEVEL));
    let leaves = merge(&allowed, columns, rows);
    let mut tiling = Tiling { silhouette, heights, columns, rows, leaves, triangles: Vec::new() };
    for y in 0..rows {
        for x in 0..columns {
            let level = tiling.leaves[y * columns + x];
            let side = 1 << level;
            if x % side == 0 && y % side == 0 {
                let near = (0..side).any(|row| allowed.near[(y + row) * columns + x..][..side].contains(&true));
                if near || silhouette.is_inside(x, y) {
                    tiling.emit(x, y, level);
                }
            }
        }
    }
    tiling.triangles
}

struct Allowed {
    /// Highest level of a leaf that contains this cell.
    level: Vec<u8>,
    /// On the outline, or so close that a leaf on it may touch this cell.
    near: Vec<bool>,
}

fn allowed_levels(silhouette: &Silhouette, columns: usize, rows: usize, outline_level: u8) -> Allowed {
    let mut level = vec![MAX_LEVEL; columns * rows];
    let mut near = vec![false; columns * rows];
    let levels = outline_levels(silhouette, columns, rows, outline_level);
    for class in 0..=outline_level {
        let mut distance: Vec<u8> = levels.iter().map(|&l| if l == class { 0 } else { u8::MAX }).collect();
        spread(&mut distance, columns, rows);
        for (cell, &d) in distance.iter().enumerate() {
            let grown = GROWTH.iter().rposition(|&start| d as u32 >= (start as u32) << class).unwrap_or(0) as u8;
            level[cell] = level[cell].min(class + grown);
            near[cell] |= d as u32 <= 1 << class;
        }
    }
    Allowed { level, near }
}

/// For cells on the outline how coarse they may be, `u8::MAX` elsewhere.
fn outline_levels(silhouette: &Silhouette, columns: usize, rows: usize, outline_level: u8) -> Vec<u8> {
    let mut levels = vec![u8::MAX; columns * rows];
    for y in 0..rows {
        for x in 0..columns {
            let first = silhouette.is_inside(x, y);
            let others = [(x + 1, y), (x, y + 1), (x + 1, y + 1)];
            if others.iter().any(|&(x, y)| silhouette.is_inside(x, y) != first) {
                levels[y * columns + x] = 0;
            }
        }
    }
    for level in 1..=outline_level {
        let side = 1 << level;
        for y in (0..rows).step_by(side) {
            for x in (0..columns).step_by(side) {
                let cells = || (0..side * side).map(|i| (y + i / side) * columns + x + i % side);
                let lower = cells().map(|cell| levels[cell]).filter(|&l| l != u8::MAX);
                if lower.min() == Some(level - 1) && is_straight(silhouette, x, y, side) {
                    for cell in cells() {
                        if levels[cell] != u8::MAX {
                            levels[cell] = level;
                        }
                    }
                }
            }
        }
    }
    levels
}

/// Whether the outline crosses this square once, almost along a line.
fn is_straight(silhouette: &Silhouette, x0: usize, y0: usize, side: usize) -> bool {
    let value = |x: usize, y: usize| silhouette.values[y * silhouette.width + x];
    let mut border = Vec::with_capacity(4);
    let mut inner = Vec::with_capacity(4 * side);
    for along in 0..=side {
        for step in 0..side {
            for (from, to) in [((step, along), (step + 1, along)), ((along, step), (along, step + 1))] {
                let (a, b) = (value(x0 + from.0, y0 + from.1), value(x0 + to.0, y0 + to.1));
                if (a > 0.0) != (b > 0.0) {
                    let t = a / (a - b);
                    let lerp = |a: usize, b: usize| a as f32 + (b as f32 - a as f32) * t;
                    let crossing = glam::Vec2::new(lerp(from.0, to.0), lerp(from.1, to.1));
                    let on_border = along == 0 || along == side;
                    if on_border { border.push(crossing) } else { inner.push(crossing) }
                }
            }
        }
    }
    let [start, end] = border[..] else { return false };
    let corners = [(0, 0), (side, 0), (0, side), (side, side)].map(|(x, y)| value(x0 + x, y0 + y) > 0.0);
    if corners == [corners[0]; 4] {
        return false; // in and out again on one side
    }
    let chord = end - start;
    let length = chord.length();
    inner.iter().all(|&crossing| (crossing - start).perp_dot(chord).abs() <= STRAIGHT * side as f32 * length)
}

/// Chessboard distance to the nearest cell that holds 0, in two passes.
fn spread(distance: &mut [u8], columns: usize, rows: usize) {
    for y in 0..rows {
        for x in 0..columns {
            let i = y * columns + x;
            let mut d = distance[i];
            if x > 0 {
                d = d.min(distance[i - 1].saturating_add(1));
            }
            if y > 0 {
                let up = &distance[i - columns - usize::from(x > 0)..=i - columns + usize::from(x + 1 < columns)];
                d = up.iter().fold(d, |d, &other| d.min(other.saturating_add(1)));
            }
            distance[i] = d;
        }
    }
    for y in (0..rows).rev() {
        for x in (0..columns).rev() {
            let i = y * columns + x;
            let mut d = distance[i];
            if x + 1 < columns {
                d = d.min(distance[i + 1].saturating_add(1));
            }
            if y + 1 < rows {
                let down = &distance[i + columns - usize::from(x > 0)..=i + columns + usize::from(x + 1 < columns)];
                d = down.iter().fold(d, |d, &other| d.min(other.saturating_add(1)));
            }
            distance[i] = d;
        }
    }
}

/// The level of the leaf each cell lies in: cells merge four by four as far as all of them allow it.
fn merge(allowed: &Allowed, columns: usize, rows: usize) -> Vec<u8> {
    let mut leaves = vec![0; columns * rows];
    let mut lowest = allowed.level.clone();
    let (mut w, mut h) = (columns, rows);
    for level in 1..=MAX_LEVEL {
        let (half_w, half_h) = (w / 2, h / 2);
        let mut next = vec![0; half_w * half_h];
        for y in 0..half_h {
            for x in 0..half_w {
                let i = 2 * y * w + 2 * x;
                let low = lowest[i].min(lowest[i + 1]).min(lowest[i + w]).min(lowest[i + w + 1]);
                next[y * half_w + x] = low;
                if low >= level {
                    let side = 1 << level;
                    for row in 0..side {
                        leaves[(y * side + row) * columns + x * side..][..side].fill(level);
                    }
                }
            }
        }
        (lowest, w, h) = (next, half_w, half_h);
    }
    leaves
}

struct Tiling<'a> {
    silhouette: &'a Silhouette,
    heights: &'a [f32],
    columns: usize,
    rows: usize,
    leaves: Vec<u8>,
    triangles: Vec<[u32; 3]>,
}

impl Tiling<'_> {
    fn emit(&mut self, x: usize, y: usize, level: u8) {
        let side = 1usize << level;
        let node = |x: usize, y: usize| (y * self.silhouette.width + x) as u32;
        let finer = |x: usize, y: usize| self.leaves[y * self.columns + x] < level;
        let [left, top, right, bottom] = [x, y, x + side, y + side];
        let half = side / 2;

        // Once around, counter-clockwise as seen: down the left side first.
        let mut ring = vec![node(left, top)];
        if left > 0 && finer(left - 1, top) {
            ring.push(node(left, top + half));
        }
        ring.push(node(left, bottom));
        if bottom < self.rows && finer(left, bottom) {
            ring.push(node(left + half, bottom));
        }
        ring.push(node(right, bottom));
        if right < self.columns && finer(right, top) {
            ring.push(node(right, top + half));
        }
        ring.push(node(right, top));
        if top > 0 && finer(left, top - 1) {
            ring.push(node(left + half, top));
        }

        if let [a, b, c, d] = ring[..] {
            if self.prefers_first_diagonal([a, b, c, d]) {
                self.triangles.extend([[a, b, c], [a, c, d]]);
            } else {
                self.triangles.extend([[a, b, d], [b, c, d]]);
            }
        } else {
            let centre = node(left + half, top + half);
            for (i, &from) in ring.iter().enumerate() {
                self.triangles.push([from, ring[(i + 1) % ring.len()], centre]);
            }
        }
    }

    /// Whether the quad a, b, c, d is better cut from a to c than from b to d.
    fn prefers_first_diagonal(&self, corners: [u32; 4]) -> bool {
        let values = corners.map(|node| self.silhouette.values[node as usize]);
        let inside = values.map(|v| v > 0.0);
        match inside.iter().filter(|&&inside| inside).count() {
            // A corner alone among its kind is cut off by one triangle.
            1 => inside[1] || inside[3],
            3 => !inside[1] || !inside[3],
            2 if inside[0] == inside[2] => inside[0] == Silhouette::joins_diagonally(values),
            2 => true,
            // Along the contour lines rather than across: it creases less.
            _ => {
                let [a, b, c, d] = corners.map(|node| self.heights[node as usize]);
                (a - c).abs() <= (b - d).abs()
            }
        }
    }
}
