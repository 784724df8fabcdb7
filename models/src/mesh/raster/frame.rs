//! Which triangle each pixel shows: projection, clipping, depth buffer.
//!
//! A pixel keeps only the number of its face. Where on the triangle it lies is
//! computed when asked for, from homogeneous coordinates (Olano and Greer,
//! "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997): exact
//! under perspective, also for triangles cut by the near plane.

use std::ops::Range;

use glam::{DMat3, DVec2, DVec3, DVec4, Vec2, Vec3};
use rayon::prelude::*;

use super::{
    Camera, bins,
    scan::{MAX_COORDINATE, ScanTriangle},
};

/// Face number of a pixel that shows no face.
pub const NOTHING: u32 = u32::MAX;

/// Triangles that reach farther, in pixels, are cut before they are scanned.
const FAR: f64 = MAX_COORDINATE / 2.0;

/// Rows that are drawn together.
const BAND: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cull {
    Nothing,
    /// Leaves out faces that wind clockwise in the picture.
    Back,
    /// Leaves out faces that wind counter-clockwise in the picture.
    Front,
}

impl Cull {
    /// `area` is that of the face in the picture. y runs down there, so
    /// counter-clockwise means negative.
    fn leaves_out(self, area: f64) -> bool {
        match self {
            Cull::Nothing => false,
            Cull::Back => area > 0.0,
            Cull::Front => area < 0.0,
        }
    }
}

/// A point of the visible surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Index of the triangle in the mesh.
    pub triangle: u32,
    /// Weights of its three corners: not negative, sum 1.
    pub barycentric: Vec3,
    /// 1 at the near plane, smaller is farther.
    pub depth: f32,
}

/// The triangles of a mesh as a camera sees them, ready to be drawn.
pub struct Projection {
    pub width: u32,
    pub height: u32,
    faces: Vec<Face>,
    /// What is left of the faces within the picture, and the face it is of.
    pieces: Vec<(ScanTriangle, u32)>,
}

/// A triangle's interpolation functions, linear in picture coordinates.
struct Face {
    triangle: u32,
    /// Picture coordinates that the functions are relative to.
    anchor: Vec2,
    /// Barycentric weight over w, for each corner: (d/dx, d/dy, value at anchor).
    weight_over_w: [Vec3; 3],
    /// Depth: (d/dx, d/dy, value at anchor).
    depth: Vec3,
    area: f32,
}

impl Projection {
    pub fn new(
        positions: &[Vec3],
        triangles: &[[u32; 3]],
        camera: &Camera,
        width: u32,
        height: u32,
        cull: Cull,
    ) -> Self {
        let to_clip = camera.to_clip.as_dmat4();
        let half = DVec2::new(f64::from(width), f64::from(height)) / 2.0;
        // Homogeneous picture coordinates: x / w and y / w are pixels, z / w is depth.
        let corners: Vec<DVec4> = positions
            .iter()
            .map(|p| {
                let c = to_clip * p.as_dvec3().extend(1.0);
                DVec4::new((c.w + c.x) * half.x, (c.w - c.y) * half.y, c.z, c.w)
            })
            .collect();
        let half = triangles.len() / 2 + 1;
        let (faces, pieces) = (Vec::with_capacity(half), Vec::with_capacity(half));
        let mut this = Self { width, height, faces, pieces };
        for (index, triangle) in triangles.iter().enumerate() {
            this.add(index as u32, triangle.map(|v| corners[v as usize]), cull);
        }
        this
    }

    fn add(&mut self, triangle: u32, corners: [DVec4; 3], cull: Cull) {
        let pixels = corners.map(|c| c.truncate().truncate() / c.w);
        let is_near = corners.map(|c| is_near_enough(c) >= 0.0);
        let is_whole = is_near == [true; 3] && pixels.iter().all(|p| p.abs().max_element() < FAR);
        let doubled_area = (pixels[1] - pixels[0]).perp_dot(pixels[2] - pixels[0]);
        if is_near == [false; 3] || (is_whole && cull.leaves_out(doubled_area)) {
            return;
        }
        let anchor = match is_near.iter().position(|near| *near) {
            Some(k) => pixels[k].floor().clamp(DVec2::ZERO, DVec2::new(self.width.into(), self.height.into())),
            None => DVec2::ZERO,
        };
        let columns = corners.map(|c| DVec3::new(c.x - anchor.x * c.w, c.y - anchor.y * c.w, c.w));
        let matrix = DMat3::from_cols(columns[0], columns[1], columns[2]);
        let determinant = matrix.determinant();
        if cull.leaves_out(determinant) || determinant == 0.0 || !determinant.is_finite() {
            return;
        }

        let face = self.faces.len() as u32;
        let n_pieces = self.pieces.len();
        if is_whole {
            self.pieces.extend(ScanTriangle::new(pixels).map(|t| (t, face)));
        } else {
            let polygon = clip(&corners, FAR);
            let pixels: Vec<DVec2> = polygon.iter().map(|c| c.truncate().truncate() / c.w).collect();
            for i in 2..pixels.len() {
                self.pieces.extend(ScanTriangle::new([pixels[0], pixels[i - 1], pixels[i]]).map(|t| (t, face)));
            }
        }
        if self.pieces.len() > n_pieces {
            let rows = matrix.inverse().transpose();
            let depth = rows * DVec3::new(corners[0].z, corners[1].z, corners[2].z);
            self.faces.push(Face {
                triangle,
                anchor: anchor.as_vec2(),
                weight_over_w: [rows.x_axis, rows.y_axis, rows.z_axis].map(|r| r.as_vec3()),
                depth: depth.as_vec3(),
                area: if is_near == [true; 3] { (doubled_area.abs() / 2.0) as f32 } else { f32::INFINITY },
            });
        }
    }

    /// For each visible triangle its index and the area, in pixels, that all of
    /// it would have; infinite when part of it is behind the near plane.
    pub fn areas(&self) -> impl Iterator<Item = (u32, f32)> {
        self.faces.iter().map(|face| (face.triangle, face.area))
    }

    /// Faces in bands of `band_height` rows, for `draw_rows`.
    pub fn bands(&self, band_height: u32) -> Vec<Vec<u32>> {
        let n_bands = self.height.div_ceil(band_height) as usize;
        bins(n_bands, band_height, self.pieces.iter().map(|(t, _)| t.rows(self.height)))
    }

    /// Draws the pieces `band` (from `bands`) into the given rows. `depth` and
    /// `faces` hold these rows; what is nearer than `depth` replaces it. Of faces
    /// equally near the earlier one stays.
    pub fn draw_rows(&self, band: &[u32], rows: Range<u32>, depth: &mut [f32], faces: &mut [u32]) {
        for &(triangle, face) in band.iter().map(|&i| &self.pieces[i as usize]) {
            let visible = triangle.rows(rows.end);
            let plane = &self.faces[face as usize];
            triangle.for_each_run(self.width, visible.start.max(rows.start)..visible.end, |y, xs| {
                let start = ((y - rows.start) * self.width) as usize;
                let run = start + xs.start as usize..start + xs.end as usize;
                let at_row = plane.depth.z + plane.depth.y * (y as f32 + 0.5 - plane.anchor.y);
                let from = xs.start as f32 + 0.5 - plane.anchor.x;
                for (i, (d, f)) in depth[run.clone()].iter_mut().zip(&mut faces[run]).enumerate() {
                    let here = at_row + plane.depth.x * (from + i as f32);
                    if here > *d {
                        *d = here;
                        *f = face;
                    }
                }
            });
        }
    }

    /// Where on `face` (a number found in a frame) the picture point lies, in
    /// pixels; a pixel's centre is at + 0.5. Points beside the face give the
    /// nearest weights that are not negative.
    pub fn hit(&self, face: u32, point: Vec2) -> Hit {
        let face = &self.faces[face as usize];
        let at = (point - face.anchor).extend(1.0);
        let weights = Vec3::from_array(face.weight_over_w.map(|w| w.dot(at))).max(Vec3::ZERO);
        let sum = weights.element_sum();
        let barycentric = if sum > 0.0 { weights / sum } else { Vec3::splat(1.0 / 3.0) };
        Hit { triangle: face.triangle, barycentric, depth: face.depth.dot(at) }
    }
}

/// What each pixel of a projection shows.
pub struct Frame {
    pub width: u32,
    pub height: u32,
    /// Row by row from the top left; 0 where nothing is.
    pub depth: Vec<f32>,
    /// For `Projection::hit`; `NOTHING` where nothing is.
    pub faces: Vec<u32>,
}

impl Frame {
    pub fn draw(projection: &Projection) -> Self {
        let (width, height) = (projection.width, projection.height);
        let n = width as usize * height as usize;
        let mut this = Self { width, height, depth: vec![0.0; n], faces: vec![NOTHING; n] };
        if n > 0 {
            let size = (BAND * width) as usize;
            let bands = projection.bands(BAND);
            let chunks = this.depth.par_chunks_mut(size).zip(this.faces.par_chunks_mut(size));
            chunks.zip(&bands).enumerate().for_each(|(i, ((depth, faces), band))| {
                let first = i as u32 * BAND;
                projection.draw_rows(band, first..(first + BAND).min(height), depth, faces);
            });
        }
        this
    }

    /// What the centre of pixel (x, y) shows.
    pub fn hit(&self, projection: &Projection, x: u32, y: u32) -> Option<Hit> {
        let face = self.faces[(y * self.width + x) as usize];
        (face != NOTHING).then(|| projection.hit(face, Vec2::new(x as f32, y as f32) + 0.5))
    }
}

/// Positive in front of the near plane, where depth z / w is below 1 and w positive.
fn is_near_enough(corner: DVec4) -> f64 {
    corner.w - corner.z
}

/// The part of the triangle in front of the near plane and within +-limit
/// pixels, as a convex polygon (Sutherland and Hodgman, 1974).
fn clip(corners: &[DVec4; 3], limit: f64) -> Vec<DVec4> {
    let inside: [&dyn Fn(DVec4) -> f64; 5] =
        [&is_near_enough, &|c| limit * c.w - c.x, &|c| limit * c.w + c.x, &|c| limit * c.w - c.y, &|c| {
            limit * c.w + c.y
        }];
    let mut polygon = corners.to_vec();
    for distance in inside {
        let mut kept = Vec::with_capacity(polygon.len() + 1);
        for (i, &to) in polygon.iter().enumerate() {
            let from = polygon[(i + polygon.len() - 1) % polygon.len()];
            let (d_from, d_to) = (distance(from), distance(to));
            // Always from the inside out: both triangles at an edge get the same point.
            if d_from >= 0.0 && d_to < 0.0 {
                kept.push(from + (to - from) * (d_from / (d_from - d_to)));
            } else if d_from < 0.0 && d_to >= 0.0 {
                kept.push(to + (from - to) * (d_to / (d_to - d_from)));
            }
            if d_to >= 0.0 {
                kept.push(to);
            }
        }
        polygon = kept;
    }
    polygon
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::FrontView;

    const QUAD: [[u32; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

    #[test]
    fn a_floor_receding_from_the_camera_is_seen_where_its_rays_meet_it() {
        // Looking slightly down on a floor that starts behind the camera.
        let (eye, target) = (Vec3::new(0.0, 1.0, 0.0), Vec3::new(0.0, 0.0, -4.0));
        let camera = Camera::perspective(eye, target, 1.0, 1.5, 0.1);
        let corners = [(-50.0, 5.0), (50.0, 5.0), (50.0, -90.0), (-50.0, -90.0)].map(|(x, z)| Vec3::new(x, 0.0, z));
        let (width, height) = (90, 60);
        let projection = Projection::new(&corners, &QUAD, &camera, width, height, Cull::Back);
        let frame = Frame::draw(&projection);

        let [right, up, back] = super::super::camera::axes(target - eye);
        let tan = 0.5f32.tan();
        let mut n_hits = 0;
        for y in 0..height {
            for x in 0..width {
                let (u, v) = ((x as f32 + 0.5) / 45.0 - 1.0, 1.0 - (y as f32 + 0.5) / 30.0);
                let ray = right * u * tan * 1.5 + up * v * tan - back;
                let at = eye + ray * (-eye.y / ray.y);
                let seen = ray.y < 0.0 && at.x.abs() < 50.0 && at.z > -90.0;
                let hit = frame.hit(&projection, x, y);
                assert_eq!(hit.is_some(), seen, "pixel {x},{y}");
                if let Some(hit) = hit {
                    n_hits += 1;
                    let p: Vec3 =
                        (0..3).map(|k| corners[QUAD[hit.triangle as usize][k] as usize] * hit.barycentric[k]).sum();
                    assert!((p - at).length() < 2e-3 * (at - eye).length(), "pixel {x},{y}: {p}, not {at}");
                    assert!((hit.depth * (at - eye).dot(-back) / 0.1 - 1.0).abs() < 1e-3);
                }
            }
        }
        assert!(n_hits > 2000, "{n_hits}");
    }

    #[test]
    fn the_nearer_surface_wins_in_any_order() {
        let view = FrontView { metres_per_pixel: 0.1, origin: Vec2::new(0.0, 8.0) };
        let camera = Camera::front(&view, 8, 8, 1.0, -1.0);
        // Two squares that cross along x = 0.4.
        let square = |slope: f32| {
            [(0.0, 0.0), (0.8, 0.0), (0.8, 0.8), (0.0, 0.8)].map(|(x, y)| Vec3::new(x, y, slope * (x - 0.4)))
        };
        for slopes in [[1.0, -1.0], [-1.0, 1.0]] {
            let positions = [square(slopes[0]), square(slopes[1])].concat();
            let triangles: Vec<[u32; 3]> = [0, 4].iter().flat_map(|&o| QUAD.map(|t| t.map(|v| v + o))).collect();
            let projection = Projection::new(&positions, &triangles, &camera, 8, 8, Cull::Back);
            let frame = Frame::draw(&projection);
            for (x, y) in (0..64).map(|i| (i % 8, i / 8)) {
                let hit = frame.hit(&projection, x, y).unwrap();
                let rising = slopes[(hit.triangle / 2) as usize] > 0.0;
                assert_eq!(rising, x >= 4, "pixel {x},{y}");
            }
        }
    }

    #[test]
    fn faces_turned_away_are_culled_on_request() {
        let view = FrontView { metres_per_pixel: 0.25, origin: Vec2::new(0.0, 4.0) };
        let camera = Camera::front(&view, 4, 4, 1.0, -1.0);
        let corners = [Vec3::ZERO, Vec3::X, Vec3::ONE, Vec3::Y].map(|p| p * Vec3::new(1.0, 1.0, 0.0));
        let n = |triangles: &[[u32; 3]], cull| {
            let projection = Projection::new(&corners, triangles, &camera, 4, 4, cull);
            Frame::draw(&projection).faces.iter().filter(|&&f| f != NOTHING).count()
        };
        let turned = QUAD.map(|[a, b, c]| [a, c, b]);
        let all = [Cull::Nothing, Cull::Back, Cull::Front];
        assert_eq!(all.map(|cull| n(&QUAD, cull)), [16, 16, 0]);
        assert_eq!(all.map(|cull| n(&turned, cull)), [16, 0, 16]);
    }

    #[test]
    fn behind_through_and_absurdly_large_are_cut_without_cracks() {
        let camera = Camera::perspective(Vec3::ZERO, -Vec3::Z, 1.2, 1.0, 0.5);
        let behind = [Vec3::new(0.0, 1.0, 1.0), Vec3::new(-1.0, 0.0, 2.0), Vec3::new(1.0, 0.0, 2.0)];
        let projection = Projection::new(&behind, &[[0, 1, 2]], &camera, 32, 32, Cull::Nothing);
        assert!(Frame::draw(&projection).faces.iter().all(|&f| f == NOTHING));

        // A tent around the camera fills the picture; its ridge passes through the near plane.
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50 {
            let scale = 10f32.powf(random.f32() * 9.0);
            let tip = Vec3::new(random.f32() - 0.5, random.f32() - 0.5, -1.0) * 2.0;
            let corners =
                [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(x, y)| Vec3::new(x, y, 1e-3) * 20.0 * scale);
            let positions = [&corners[..], &[tip]].concat();
            let fan = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]];
            let projection = Projection::new(&positions, &fan, &camera, 32, 32, Cull::Nothing);
            let n_missing = Frame::draw(&projection).faces.iter().filter(|&&f| f == NOTHING).count();
            assert_eq!(n_missing, 0, "scale {scale}, tip {tip}");
        }
    }
}
