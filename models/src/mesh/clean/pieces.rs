//! Pieces of a surface: which way they face, and which are too small to keep.

use glam::{DVec3, Vec3};

use super::super::surface::Surface;

/// An open piece faces outwards or inwards for certain when the volume between
/// it and the middle of its border is at least this share of its area^1.5. A
/// sphere has 0.094, half a sphere 0.13, a flat sheet 0.
const CLEARLY_BULGING: f64 = 0.02;
/// How many of the largest pieces are looked at for cavities inside them.
const MAX_SHELLS: usize = 256;

/// Winds pieces outwards; returns which faces were turned. A closed piece that
/// was wound consistently before (`oriented`) and lies inside the box of another
/// one is a cavity and keeps its winding. Open pieces are turned where they
/// bulge inwards, flat ones keep the winding that most of their area had: see
/// `Surface::orient`.
pub(super) fn turn_outwards(positions: &[Vec3], surface: &mut Surface, oriented: &[bool]) -> Vec<bool> {
    let (piece_of, n_pieces) = surface.pieces();
    let mut pieces = vec![Piece::default(); n_pieces];
    for (f, &face) in surface.faces.iter().enumerate() {
        let piece = &mut pieces[piece_of[f] as usize];
        piece.kept &= oriented[f];
        let corners = face.map(|v| positions[v as usize]);
        piece.low = corners.iter().fold(piece.low, |low, &p| low.min(p));
        piece.high = corners.iter().fold(piece.high, |high, &p| high.max(p));
        for i in (0..3).filter(|&i| surface.links[f][i].is_none()) {
            piece.border += (corners[i].as_dvec3() + corners[(i + 1) % 3].as_dvec3()) / 2.0;
            piece.n_open += 1;
        }
    }
    for (f, &face) in surface.faces.iter().enumerate() {
        let piece = &mut pieces[piece_of[f] as usize];
        let origin = if piece.n_open == 0 { piece.low.as_dvec3() } else { piece.border / piece.n_open as f64 };
        let [a, b, c] = face.map(|v| positions[v as usize].as_dvec3() - origin);
        piece.volume += DVec3::dot(a, b.cross(c)) / 6.0;
        piece.area += (b - a).cross(c - a).length() / 2.0;
    }
    let mut shells: Vec<usize> = (0..n_pieces).collect();
    shells.sort_by(|&p, &q| pieces[q].diagonal().total_cmp(&pieces[p].diagonal()).then(p.cmp(&q)));
    shells.truncate(MAX_SHELLS);
    let is_inside_another = |p: usize| {
        let holds = |q: usize| pieces[q].low.cmplt(pieces[p].low).all() && pieces[q].high.cmpgt(pieces[p].high).all();
        shells.iter().any(|&q| q != p && holds(q))
    };
    let turn: Vec<bool> = (0..n_pieces)
        .map(|p| {
            let piece = &pieces[p];
            match piece.n_open {
                0 => piece.volume < 0.0 && !(piece.kept && is_inside_another(p)),
                _ => piece.volume < -CLEARLY_BULGING * piece.area.powf(1.5),
            }
        })
        .collect();
    surface.flip(|f| turn[piece_of[f] as usize]);
    piece_of.iter().map(|&p| turn[p as usize]).collect()
}

#[derive(Clone)]
struct Piece {
    low: Vec3,
    high: Vec3,
    /// Sum of the middles of the open edges.
    border: DVec3,
    n_open: usize,
    /// Signed; of an open piece up to the middle of its border.
    volume: f64,
    area: f64,
    /// No face had to be turned.
    kept: bool,
}

impl Piece {
    fn diagonal(&self) -> f32 {
        self.low.distance_squared(self.high)
    }
}

impl Default for Piece {
    fn default() -> Self {
        Piece {
            low: Vec3::INFINITY,
            high: Vec3::NEG_INFINITY,
            border: DVec3::ZERO,
            n_open: 0,
            volume: 0.0,
            area: 0.0,
            kept: true,
        }
    }
}

/// Which faces stay when pieces with less than `speck` of the largest piece's
/// area go, and how many pieces do; `None` where all stay.
pub(super) fn without_specks(positions: &[Vec3], surface: &Surface, speck: f32) -> Option<(Vec<bool>, usize)> {
    let (piece_of, n_pieces) = surface.pieces();
    let mut areas = vec![0.0; n_pieces];
    for (f, &face) in surface.faces.iter().enumerate() {
        let [a, b, c] = face.map(|v| positions[v as usize]);
        areas[piece_of[f] as usize] += (b - a).cross(c - a).length() as f64;
    }
    let largest = areas.iter().copied().fold(0.0, f64::max);
    let stays: Vec<bool> = areas.iter().map(|&area| area >= speck as f64 * largest).collect();
    let n_specks = stays.iter().filter(|&&stays| !stays).count();
    (n_specks > 0).then(|| (piece_of.iter().map(|&p| stays[p as usize]).collect(), n_specks))
}
