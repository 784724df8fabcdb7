//! The point of the high surface that belongs to a point of the low one.

use glam::{Vec3, Vec3A};

use super::{
    BakeOptions,
    layout::{LowPoint, Sample},
};
use crate::{
    error::StageError,
    mesh::{
        Mesh,
        bvh::{Bvh, SurfacePoint},
        textured::{
            TexturedMesh,
            details::{self, Details},
        },
    },
};

/// Where nothing is known, the line is looked along so far at first, relative to the cage.
const FIRST_REACH: f32 = 1.0 / 64.0;

pub struct Search<'a> {
    pub high: &'a TexturedMesh,
    pub details: Details<'a>,
    pub bvh: Bvh,
    /// Whether low and high mesh differ at all.
    is_other: bool,
    /// In metres.
    pub cage: f32,
    /// Of the high mesh's bounding box, in metres.
    pub diagonal: f32,
}

impl<'a> Search<'a> {
    pub fn new(low: &Mesh, high: &'a TexturedMesh, is_other: bool, options: &BakeOptions) -> Result<Self, StageError> {
        details::check(high)?;
        let needs_rays = is_other || options.occlusion.is_some() || options.extras.iter().any(|e| e.needs_rays());
        let empty: &[[u32; 3]] = &[];
        let (details, bvh) = rayon::join(
            || Details::new(high),
            || Bvh::new(&high.mesh.positions, if needs_rays { &high.mesh.triangles } else { empty }),
        );
        let details = details?;
        if needs_rays && bvh.is_empty() {
            return Err(StageError::invalid(
                format!("none of the {} triangles to bake from has an area", high.mesh.triangles.len()),
                "give a mesh with a surface",
            ));
        }
        let diagonal = |mesh: &Mesh| mesh.bounds().map_or(0.0, |(low, high)| (high - low).length());
        Ok(Self { cage: options.cage * diagonal(low), diagonal: diagonal(&high.mesh), high, details, bvh, is_other })
    }

    /// The nearest point within the cage along the normal, either way, that faces the
    /// same way; else the closest such point of the surface not much beyond the cage;
    /// else the closest of all. Faces of double-sided materials face both ways.
    /// `last` is what was found before: its triangle is tried first, and what it was away
    /// from the low surface says how far to look at first, which makes most rays short.
    pub fn find(&self, sample: &Sample, low: &LowPoint, last: &mut Option<(u32, f32)>) -> SurfacePoint {
        let own = SurfacePoint { face: sample.face, barycentric: sample.barycentric, distance: 0.0 };
        if !self.is_other {
            return own;
        }
        let normal = Vec3A::from(low.normal);
        let accept =
            |face: u32, face_normal: Vec3A| face_normal.dot(normal) > 0.0 || self.details.is_double_sided(face);
        let known = last.and_then(|(face, _)| self.along_normal(face, low, accept));
        let mut reach = match (known, *last) {
            (Some(known), _) => known.distance,
            (None, Some((_, distance))) => (2.0 * distance).clamp(self.cage * FIRST_REACH, self.cage),
            (None, None) => self.cage,
        };
        let best = loop {
            let nearest = self.bvh.nearest_on_line(low.position, low.normal, reach, accept);
            match known {
                Some(known) => break nearest.filter(|hit| hit.distance < known.distance).or(Some(known)),
                None if nearest.is_some() || reach >= self.cage => break nearest,
                None => reach = (reach * 8.0).min(self.cage),
            }
        };
        let found = best
            .or_else(|| self.bvh.closest(low.position, 4.0 * self.cage, accept))
            .or_else(|| self.bvh.closest(low.position, f32::INFINITY, |_, _| true));
        *last = best.map(|best| (best.face, best.distance));
        // Only a point that is not finite has no closest one.
        found.unwrap_or(SurfacePoint { face: 0, barycentric: Vec3::splat(1.0 / 3.0), distance: 0.0 })
    }

    /// Where the line along the low normal meets one triangle, within the cage.
    fn along_normal(&self, face: u32, low: &LowPoint, accept: impl Fn(u32, Vec3A) -> bool) -> Option<SurfacePoint> {
        let [a, b, c] = self.high.mesh.corners(self.high.mesh.triangles[face as usize]);
        let normal = (b - a).cross(c - a);
        let t = (a - low.position).dot(normal) / low.normal.dot(normal);
        let p = low.position + low.normal * t;
        let scale = 1.0 / normal.length_squared();
        let weight = |from: Vec3, to: Vec3| (to - from).cross(p - from).dot(normal) * scale;
        let barycentric = Vec3::new(weight(b, c), weight(c, a), weight(a, b));
        // NaN fails this comparison too.
        let is_inside = barycentric.min_element() >= 0.0 && t.abs() <= self.cage;
        (is_inside && accept(face, normal.into())).then(|| SurfacePoint {
            face,
            barycentric: barycentric / barycentric.element_sum(),
            distance: t.abs(),
        })
    }

    pub fn position(&self, point: &SurfacePoint) -> Vec3 {
        let [a, b, c] = self.high.mesh.corners(self.high.mesh.triangles[point.face as usize]);
        let w = point.barycentric;
        a * w.x + b * w.y + c * w.z
    }

    /// Unit normal of the flat triangle.
    pub fn face_normal(&self, point: &SurfacePoint) -> Vec3 {
        let [a, b, c] = self.high.mesh.corners(self.high.mesh.triangles[point.face as usize]);
        (b - a).cross(c - a).normalize_or(Vec3::Z)
    }
}
