//! The surface of a relief: front, walls and back, each with vertices of its own.
//!
//! Where two sides meet, vertices are doubled at bit-equal positions: the surface is closed, and
//! its edges are sharp.

use glam::{Vec2, Vec3};

use super::{
    Form, Relief,
    layout::{Layout, Strip},
    sheet::Sheet,
};
use crate::mesh::{Mesh, normals::smooth_normals};

/// Which part of the surface a triangle belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Front,
    Wall,
    Back,
}

pub struct Solid {
    positions: Vec<Vec3>,
    normals: Vec<Vec3>,
    /// Places on the relief's own texture.
    uvs: Vec<Vec2>,
    /// What each vertex shows, in pixels of the picture.
    pub pixels: Vec<Vec2>,
    triangles: Vec<[u32; 3]>,
    /// Of each triangle.
    pub sides: Vec<Side>,
}

/// A row of border points that a strip of wall hangs on; closed ones repeat their first.
struct Piece {
    points: Vec<u32>,
    /// Pieces of one round border, whose normals run on.
    group: usize,
}

impl Solid {
    /// `heights` are 0..=1, of each point of the sheet.
    pub fn new(sheet: &Sheet, heights: &[f32], how: &Relief) -> Solid {
        let (low, high) = sheet.bounds();
        let scale = scale(high - low, how);
        let size = (high - low) * scale;
        let (depth, base) = (how.depth * size.min_element(), how.base * size.min_element());
        let is_closed = how.form != Form::Terrain;
        let base = if is_closed { base } else { 0.0 };
        // Right, up, towards the viewer; centred, the back at zero.
        let place = |point: Vec2, z: f32| {
            let p = (point - (low + high) / 2.0) * scale;
            Vec3::new(p.x, -p.y, z)
        };
        let top: Vec<f32> = heights.iter().map(|height| base + depth * height).collect();
        let thickest = top.iter().copied().fold(0.0, f32::max);

        let pieces = if is_closed { pieces(sheet) } else { Vec::new() };
        let length = |piece: &Piece| {
            let steps = piece.points.windows(2);
            steps.map(|s| ((sheet.points[s[1] as usize] - sheet.points[s[0] as usize]) * scale).length()).sum()
        };
        let lengths: Vec<f32> = pieces.iter().map(length).collect();
        let layout = Layout::new(size, thickest, &lengths, is_closed);

        let mut solid = Solid {
            positions: Vec::new(),
            normals: Vec::new(),
            uvs: Vec::new(),
            pixels: sheet.points.clone(),
            triangles: sheet.triangles.clone(),
            sides: vec![Side::Front; sheet.triangles.len()],
        };
        solid.positions = sheet.points.iter().zip(&top).map(|(p, z)| place(*p, *z)).collect();
        solid.normals = smooth_normals(&solid.positions, &solid.triangles);
        solid.uvs = sheet.points.iter().map(|p| layout.front((*p - low) * scale)).collect();
        if is_closed {
            for (piece, strip) in pieces.iter().zip(&layout.strips) {
                solid.hang(piece, strip, sheet, &top, &place, thickest);
            }
            solid.round_walls(&pieces, sheet.triangles.len());
            solid.close(sheet, &place, |p| layout.back((p - low) * scale));
        }
        solid.stand(size, thickest, how.form);
        solid
    }

    /// A strip of wall from the border down to zero.
    fn hang(
        &mut self,
        piece: &Piece,
        strip: &Strip,
        sheet: &Sheet,
        top: &[f32],
        place: &dyn Fn(Vec2, f32) -> Vec3,
        thickest: f32,
    ) {
        let first = self.positions.len() as u32;
        let mut along = 0.0;
        let mut before: Option<Vec3> = None;
        for &v in &piece.points {
            let (point, z) = (sheet.points[v as usize], top[v as usize]);
            let foot = place(point, 0.0);
            along += before.map_or(0.0, |before| foot.distance(before));
            before = Some(foot);
            for (position, down) in [(place(point, z), 1.0 - z / thickest), (foot, 1.0)] {
                self.positions.push(position);
                self.pixels.push(point);
                self.uvs.push(strip.at(along, down));
            }
        }
        for i in 0..piece.points.len() as u32 - 1 {
            let [a, a_foot, b, b_foot] = [0, 1, 2, 3].map(|k| first + 2 * i + k);
            self.triangles.extend([[a, a_foot, b_foot], [a, b_foot, b]]);
            self.sides.extend([Side::Wall; 2]);
        }
    }

    /// Normals of the walls, whose triangles start at `first`: smooth within a group of pieces.
    fn round_walls(&mut self, pieces: &[Piece], first: usize) {
        let mut start = first;
        let mut runs: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        for piece in pieces {
            let end = start + 2 * (piece.points.len() - 1);
            match runs.last_mut() {
                Some((group, run)) if *group == piece.group => run.end = end,
                _ => runs.push((piece.group, start..end)),
            }
            start = end;
        }
        self.normals.resize(self.positions.len(), Vec3::Z);
        for (_, run) in runs {
            let triangles = &self.triangles[run];
            let bounds = triangles.as_flattened().iter().fold((u32::MAX, 0), |(a, b), v| (a.min(*v), b.max(*v)));
            let range = bounds.0 as usize..bounds.1 as usize + 1;
            let own: Vec<[u32; 3]> = triangles.iter().map(|t| t.map(|v| v - bounds.0)).collect();
            let normals = smooth_normals(&self.positions[range.clone()], &own);
            self.normals[range].copy_from_slice(&normals);
        }
    }

    /// The flat back: the sheet again, at zero, seen from behind.
    fn close(&mut self, sheet: &Sheet, place: &dyn Fn(Vec2, f32) -> Vec3, uv: impl Fn(Vec2) -> Vec2) {
        let first = self.positions.len() as u32;
        self.positions.extend(sheet.points.iter().map(|p| place(*p, 0.0)));
        self.normals.extend(sheet.points.iter().map(|_| Vec3::NEG_Z));
        self.pixels.extend(&sheet.points);
        self.uvs.extend(sheet.points.iter().map(|p| uv(*p)));
        self.triangles.extend(sheet.triangles.iter().map(|[a, b, c]| [first + a, first + c, first + b]));
        self.sides.extend(sheet.triangles.iter().map(|_| Side::Back));
    }

    /// From "right, up, towards the viewer" to where assets stand: on y = 0, centred.
    fn stand(&mut self, size: Vec2, thickest: f32, form: Form) {
        let turn = |p: Vec3| match form {
            Form::Relief => p,
            // The picture's upper edge lies away from the viewer.
            Form::Terrain | Form::Block => Vec3::new(p.x, p.z, -p.y),
        };
        let shift = match form {
            Form::Relief => Vec3::new(0.0, size.y / 2.0, -thickest / 2.0),
            Form::Terrain | Form::Block => Vec3::ZERO,
        };
        self.positions.iter_mut().for_each(|p| *p = turn(*p) + shift);
        self.normals.iter_mut().for_each(|n| *n = turn(*n));
    }

    pub fn mesh(&self) -> Mesh {
        Mesh {
            positions: self.positions.clone(),
            normals: self.normals.clone(),
            uvs: self.uvs.clone(),
            triangles: self.triangles.clone(),
            ..Mesh::default()
        }
    }
}

/// Metres of a pixel, each way, for a sheet of `size` pixels.
fn scale(size: Vec2, how: &Relief) -> Vec2 {
    let size = size.max(Vec2::splat(f32::MIN_POSITIVE));
    match (how.width > 0.0, how.height > 0.0) {
        (true, true) => Vec2::new(how.width, how.height) / size,
        (true, false) => Vec2::splat(how.width / size.x),
        (false, true) => Vec2::splat(how.height / size.y),
        (false, false) => Vec2::splat(1.0 / size.y),
    }
}

/// Borders cut where walls meet at an angle, round ones in four.
fn pieces(sheet: &Sheet) -> Vec<Piece> {
    let mut found = Vec::new();
    for row in &sheet.loops {
        let n = row.len();
        let mut cuts: Vec<usize> = (0..n).filter(|i| sheet.corners.contains(&row[*i])).collect();
        let is_round = cuts.is_empty();
        if is_round {
            cuts = (0..4).map(|i| i * n / 4).collect();
            cuts.dedup();
        }
        let group = found.len();
        for (i, &start) in cuts.iter().enumerate() {
            let end = cuts.get(i + 1).copied().unwrap_or(cuts[0] + n);
            let points = (start..=end).map(|i| row[i % n]).collect();
            found.push(Piece { points, group: if is_round { group } else { group + i } });
        }
    }
    found
}
