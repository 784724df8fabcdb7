//! Bends and cuts a lattice tiling to the outline of its silhouette.
//!
//! In: a tiling (`lattice_tiling.rs`). Out: a `Sheet`, triangles that cover the
//! inside exactly, whose border is the outline.
//!
//! Corners that lie close to the outline are moved onto it, what still crosses
//! it is cut, after Labelle and Shewchuk 2007, "Isosurface stuffing", in the
//! plane. Cutting triangles knows no ambiguous cases; a corner is moved only
//! where that keeps the pieces and holes as they are. Hence the border consists
//! of disjoint simple loops, and an inner edge never joins two border vertices.

use std::collections::HashMap;

use glam::Vec2;

use super::silhouette::Silhouette;

/// A corner moves at most this share of its shortest edge.
const REACH: f32 = 0.33;
/// Cuts keep this share of an edge away from its ends, against needles.
const MIN_CUT: f32 = 0.04;
const NO_VERTEX: u32 = u32::MAX;

/// Triangles in the plane, counter-clockwise as seen in the picture.
pub struct Sheet {
    /// In lattice coordinates: x to the right, y down.
    pub points: Vec<Vec2>,
    /// Lattice node of inner vertices, `None` on the border.
    pub nodes: Vec<Option<u32>>,
    pub triangles: Vec<[u32; 3]>,
}

pub fn cut(silhouette: &Silhouette, tiling: &[[u32; 3]]) -> Sheet {
    let sides = silhouette.values.iter().map(|&v| if v > 0.0 { Side::In } else { Side::Out }).collect();
    let mut outline = Outline { silhouette, sides, moved: HashMap::new(), rings: HashMap::new() };
    outline.move_corners(tiling);
    outline.cut(tiling)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    On,
    Out,
}

struct Outline<'a> {
    silhouette: &'a Silhouette,
    /// Of each lattice node.
    sides: Vec<Side>,
    /// Corners moved onto the outline.
    moved: HashMap<u32, Vec2>,
    /// Neighbours, once around, of corners that may be moved.
    rings: HashMap<u32, Vec<u32>>,
}

impl Outline<'_> {
    fn side(&self, node: u32) -> Side {
        self.sides[node as usize]
    }

    fn lattice_point(&self, node: u32) -> Vec2 {
        let (x, y) = (node as usize % self.silhouette.width, node as usize / self.silhouette.width);
        Vec2::new(x as f32, y as f32)
    }

    fn point(&self, node: u32) -> Vec2 {
        if self.side(node) == Side::On { self.moved[&node] } else { self.lattice_point(node) }
    }

    /// Where the edge from an inside to an outside node first meets the outline, as a share of it.
    fn crossing(&self, inside: u32, outside: u32) -> f32 {
        let (from, to) = (self.lattice_point(inside), self.lattice_point(outside));
        let n_steps = (to - from).abs().max_element();
        let step = (to - from) / n_steps;
        let value = |i: f32| {
            let p = from + step * i;
            self.silhouette.values[p.y as usize * self.silhouette.width + p.x as usize]
        };
        let mut i = 0.0;
        while value(i + 1.0) > 0.0 {
            i += 1.0;
        }
        let (a, b) = (value(i), value(i + 1.0));
        (i + a / (a - b)) / n_steps
    }

    fn move_corners(&mut self, tiling: &[[u32; 3]]) {
        // For each corner its nearest crossing: distance and place.
        let mut nearest: HashMap<u32, (f32, Vec2)> = HashMap::new();
        for &[a, b, c] in tiling {
            // Each edge is looked at from one of its two triangles.
            for (from, to) in [(a, b), (b, c), (c, a)] {
                if self.side(from) != Side::In || self.side(to) != Side::Out {
                    continue;
                }
                let t = self.crossing(from, to);
                let (inside, outside) = (self.lattice_point(from), self.lattice_point(to));
                let at = inside.lerp(outside, t);
                let (node, distance) = if t < 0.5 { (from, at.distance(inside)) } else { (to, at.distance(outside)) };
                let best = nearest.entry(node).or_insert((f32::INFINITY, at));
                if distance < best.0 {
                    *best = (distance, at);
                }
            }
        }
        let mut wanted = vec![false; self.sides.len()];
        for &node in nearest.keys() {
            wanted[node as usize] = true;
        }
        self.rings = rings(tiling, |node| wanted[node as usize]);
        let mut candidates: Vec<(u32, f32, Vec2)> = nearest.into_iter().map(|(node, (d, at))| (node, d, at)).collect();
        candidates.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        for (node, distance, at) in candidates {
            let Some(ring) = self.rings.get(&node) else { continue };
            let here = self.lattice_point(node);
            let shortest = ring.iter().map(|&n| self.lattice_point(n).distance(here)).fold(f32::INFINITY, f32::min);
            if distance > REACH * shortest {
                continue;
            }
            let before = std::mem::replace(&mut self.sides[node as usize], Side::On);
            self.moved.insert(node, at);
            let neighbours_fit = || ring.iter().all(|&n| self.side(n) != Side::On || self.fits(n));
            if !(self.fits(node) && neighbours_fit() && self.turns_right(node, shortest)) {
                self.sides[node as usize] = before;
            }
        }
    }

    /// Whether the triangles with inside corners around a moved corner form one
    /// fan that does not close upon itself.
    fn fits(&self, node: u32) -> bool {
        let Some(ring) = self.rings.get(&node) else { return false };
        let inside: Vec<bool> = ring.iter().map(|&n| self.side(n) == Side::In).collect();
        let n_inside = inside.iter().filter(|&&i| i).count();
        let n_fans = (0..ring.len()).filter(|&i| inside[i] && !inside[(i + 1) % ring.len()]).count();
        let n_rest = ring.len() - n_inside;
        let open = n_rest > 1 || ring.iter().any(|&n| self.side(n) == Side::Out);
        n_fans == 1 && open
    }

    /// Whether all triangles around a moved corner still wind as before, none of them a needle.
    fn turns_right(&self, node: u32, scale: f32) -> bool {
        let Some(ring) = self.rings.get(&node) else { return false };
        let here = self.point(node);
        (0..ring.len()).all(|i| {
            let (a, b) = (self.point(ring[i]), self.point(ring[(i + 1) % ring.len()]));
            // y points down: counter-clockwise as seen is negative.
            -(a - here).perp_dot(b - here) > 0.15 * scale * scale
        })
    }

    fn cut(&self, tiling: &[[u32; 3]]) -> Sheet {
        let mut sheet = Builder {
            outline: self,
            sheet: Sheet { points: Vec::new(), nodes: Vec::new(), triangles: Vec::new() },
            corners: vec![NO_VERTEX; self.sides.len()],
            cuts: HashMap::new(),
        };
        for &triangle in tiling {
            // Turned so that the first corner is the one that differs or matters.
            let turned = |first: usize| [0, 1, 2].map(|i| triangle[(first + i) % 3]);
            let sides = triangle.map(|node| self.side(node));
            let find = |side: Side| sides.iter().position(|&s| s == side);
            let n_in = sides.iter().filter(|&&s| s == Side::In).count();
            let n_out = sides.iter().filter(|&&s| s == Side::Out).count();
            match (n_in, n_out) {
                (0, _) => {}
                (_, 0) => sheet.whole(triangle),
                (1, 2) => {
                    let [a, b, c] = turned(find(Side::In).unwrap_or(0));
                    let (a, ab, ac) = (sheet.corner(a), sheet.cut(a, b), sheet.cut(a, c));
                    sheet.push([a, ab, ac]);
                }
                (2, 1) => {
                    let [o, a, b] = turned(find(Side::Out).unwrap_or(0));
                    let (ao, bo) = (sheet.cut(a, o), sheet.cut(b, o));
                    let (a, b) = (sheet.corner(a), sheet.corner(b));
                    let p = |v: u32| sheet.sheet.points[v as usize];
                    if p(a).distance_squared(p(bo)) < p(b).distance_squared(p(ao)) {
                        sheet.push([a, b, bo]);
                        sheet.push([a, bo, ao]);
                    } else {
                        sheet.push([a, b, ao]);
                        sheet.push([b, bo, ao]);
                    }
                }
                // One in, one out, one on the outline.
                _ => {
                    let [a, b, c] = turned(find(Side::In).unwrap_or(0));
                    if self.side(b) == Side::Out {
                        let (a, ab, c) = (sheet.corner(a), sheet.cut(a, b), sheet.corner(c));
                        sheet.push([a, ab, c]);
                    } else {
                        let (a, b, ac) = (sheet.corner(a), sheet.corner(b), sheet.cut(a, c));
                        sheet.push([a, b, ac]);
                    }
                }
            }
        }
        sheet.sheet
    }
}

/// For each wanted node that is surrounded by triangles its neighbours in order.
fn rings(tiling: &[[u32; 3]], wanted: impl Fn(u32) -> bool) -> HashMap<u32, Vec<u32>> {
    let mut spokes: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
    for &[a, b, c] in tiling {
        for (node, from, to) in [(a, b, c), (b, c, a), (c, a, b)] {
            if wanted(node) {
                spokes.entry(node).or_default().push((from, to));
            }
        }
    }
    let chain = |spokes: &Vec<(u32, u32)>| {
        let mut ring = Vec::with_capacity(spokes.len());
        let mut at = spokes[0].0;
        for _ in 0..spokes.len() {
            ring.push(at);
            at = spokes.iter().find(|&&(from, _)| from == at)?.1;
        }
        (at == ring[0]).then_some(ring)
    };
    spokes.iter().filter_map(|(&node, spokes)| Some((node, chain(spokes)?))).collect()
}

struct Builder<'a> {
    outline: &'a Outline<'a>,
    sheet: Sheet,
    /// Vertex of each lattice node.
    corners: Vec<u32>,
    cuts: HashMap<(u32, u32), u32>,
}

impl Builder<'_> {
    fn vertex(sheet: &mut Sheet, point: Vec2, node: Option<u32>) -> u32 {
        sheet.points.push(point);
        sheet.nodes.push(node);
        (sheet.points.len() - 1) as u32
    }

    fn corner(&mut self, node: u32) -> u32 {
        if self.corners[node as usize] == NO_VERTEX {
            let inner = (self.outline.side(node) == Side::In).then_some(node);
            self.corners[node as usize] = Self::vertex(&mut self.sheet, self.outline.point(node), inner);
        }
        self.corners[node as usize]
    }

    fn cut(&mut self, inside: u32, outside: u32) -> u32 {
        let Builder { outline, sheet, cuts, .. } = self;
        *cuts.entry((inside, outside)).or_insert_with(|| {
            let t = outline.crossing(inside, outside).clamp(MIN_CUT, 1.0 - MIN_CUT);
            Self::vertex(sheet, outline.point(inside).lerp(outline.point(outside), t), None)
        })
    }

    fn whole(&mut self, triangle: [u32; 3]) {
        let triangle = triangle.map(|node| self.corner(node));
        self.push(triangle);
    }

    fn push(&mut self, triangle: [u32; 3]) {
        self.sheet.triangles.push(triangle);
    }
}
