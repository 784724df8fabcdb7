//! A lit picture of a mesh: three-quarter view, studio light, soft shadows.
//!
//! In: mesh and its maps. Out: sRGB pixels. 4x4 samples a pixel decide what is
//! visible, every quarter of a pixel is shaded for itself. Equal input gives
//! equal bytes, whatever the number of threads.

mod light;
mod shade;
mod texture;

use ::image::RgbaImage;
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use self::{
    light::{Lighting, Visibility},
    shade::{Studio, Surface, smoothstep, tone},
    texture::Texture,
};
use super::{
    Maps, Mesh,
    raster::{Camera, Cull, NOTHING, Projection, axes},
};
use crate::image::srgb::Srgb;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Width and height of the picture, in pixels.
    pub size: u32,
    pub background: Background,
    /// Degrees the camera stands to the right of the object's front.
    pub azimuth: f32,
    /// Degrees the camera looks down, between -80 and 80.
    pub elevation: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// Light grey, brighter in the middle.
    Studio,
    /// Only the object and its shadow.
    Transparent,
}

impl Default for Look {
    fn default() -> Self {
        Self { size: 512, background: Background::Studio, azimuth: 30.0, elevation: 14.0 }
    }
}

/// Vertical field of view, in radians: about a 70 mm lens.
const FOV: f32 = 0.5;

/// Free space around the object, relative to the picture.
const MARGIN: f32 = 0.085;

/// Samples along a side of a pixel, and of the part of it that is shaded as one.
const SAMPLES: u32 = 4;
const SHADED: u32 = 2;

/// Pixel rows that are drawn together.
const BAND: u32 = 8;

/// How dark the shadow on the ground can get.
const SHADOW: f32 = 0.78;

/// Draws the mesh. Without triangles there is only the background. Texture
/// coordinates and normals may be missing: then the base colour is the texture's
/// mean, and faces are flat.
pub fn render(mesh: &Mesh, maps: &Maps, look: &Look) -> RgbaImage {
    let size = look.size;
    let mut picture = RgbaImage::new(size, size);
    if size == 0 {
        return picture;
    }
    let (turn, tilt) = (look.azimuth.to_radians(), look.elevation.clamp(-80.0, 80.0).to_radians());
    let back = Vec3::new(turn.sin() * tilt.cos(), tilt.sin(), turn.cos() * tilt.cos());
    let axes = axes(-back);
    let eye = place_camera(&mesh.positions, axes);
    let near = mesh.positions.iter().map(|p| (eye - *p).dot(back)).fold(f32::INFINITY, f32::min) * 0.5;
    let near = if near.is_finite() { near.max(1e-6) } else { 1.0 };
    let camera = Camera::perspective(eye, eye - back, FOV, 1.0, near);
    let n_samples = size * SAMPLES;
    let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, n_samples, n_samples, Cull::Back);

    let normals = if mesh.normals.len() == mesh.positions.len() { mesh.normals.clone() } else { Vec::new() };
    let studio = Studio::new(axes);
    let scene = Scene {
        mesh,
        texture: Texture::new(&maps.base_color),
        maps,
        levels: mip_levels(mesh, &maps.base_color, &projection),
        lighting: Lighting::new(mesh, &normals, studio.towards_key),
        normals,
        studio,
        axes,
        eye,
        ground: mesh.bounds().map_or(0.0, |(low, _)| low.y),
        background: look.background,
    };

    let bands = projection.bands(BAND * SAMPLES);
    let rows = (BAND * size * 4) as usize;
    picture.par_chunks_mut(rows).zip(&bands).enumerate().for_each(|(i, (pixels, band))| {
        let first_row = i as u32 * BAND;
        let n_rows = pixels.len() as u32 / (size * 4);
        let mut depth = vec![0.0; (n_rows * SAMPLES * n_samples) as usize];
        let mut faces = vec![NOTHING; depth.len()];
        let samples = first_row * SAMPLES..(first_row + n_rows) * SAMPLES;
        projection.draw_rows(band, samples, &mut depth, &mut faces);
        for (j, pixel) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (x, y) = (j as u32 % size, j as u32 / size);
            *pixel = scene.pixel(&projection, &faces, first_row, x, y);
        }
    });
    picture
}

struct Scene<'a> {
    mesh: &'a Mesh,
    maps: &'a Maps,
    texture: Texture,
    /// Texture level for each triangle.
    levels: Vec<f32>,
    lighting: Lighting,
    /// Empty, or one a vertex.
    normals: Vec<Vec3>,
    studio: Studio,
    axes: [Vec3; 3],
    eye: Vec3,
    /// Height of the ground.
    ground: f32,
    background: Background,
}

impl Scene<'_> {
    /// sRGB pixel (x, y + first_row) from the samples of the band.
    fn pixel(&self, projection: &Projection, faces: &[u32], first_row: u32, x: u32, y: u32) -> [u8; 4] {
        let mut color = Vec3::ZERO;
        let mut n_covered = 0;
        for part in 0..(SAMPLES / SHADED).pow(2) {
            let parts = SAMPLES / SHADED;
            let (left, top) = (x * SAMPLES + part % parts * SHADED, y * SAMPLES + part / parts * SHADED);
            // Of each face the number of samples and where their middle is.
            let mut seen = [(NOTHING, 0, Vec2::ZERO); (SHADED * SHADED) as usize];
            let mut n_seen = 0;
            for (dx, dy) in (0..SHADED * SHADED).map(|i| (i % SHADED, i / SHADED)) {
                let face = faces[((top + dy) * projection.width + left + dx) as usize];
                if face == NOTHING {
                    continue;
                }
                let slot = seen[..n_seen].iter().position(|s| s.0 == face).unwrap_or_else(|| {
                    n_seen += 1;
                    n_seen - 1
                });
                let (_, n, sum) = seen[slot];
                seen[slot] = (face, n + 1, sum + Vec2::new(dx as f32, dy as f32) + 0.5);
            }
            for &(face, n, sum) in &seen[..n_seen] {
                let corner = Vec2::new(left as f32, (top + first_row * SAMPLES) as f32);
                color += self.surface(projection, face, corner + sum / n as f32) * n as f32;
                n_covered += n;
            }
        }
        let all = (SAMPLES * SAMPLES) as f32;
        let covered = n_covered as f32 / all;
        let center = Vec2::new(x as f32, (y + first_row) as f32) + 0.5;
        self.compose(color / all, covered, center, projection.width as f32 / SAMPLES as f32)
    }

    /// Tone-mapped linear colour of a face at a place of the sample grid.
    fn surface(&self, projection: &Projection, face: u32, at: Vec2) -> Vec3 {
        let hit = projection.hit(face, at);
        let triangle = self.mesh.triangles[hit.triangle as usize];
        let [a, b, c] = triangle.map(|v| v as usize);
        let weights = hit.barycentric;
        let corners = self.mesh.corners(triangle);
        let position = corners[0] * weights.x + corners[1] * weights.y + corners[2] * weights.z;
        let towards_eye = (self.eye - position).normalize();
        let normal = match &self.normals[..] {
            [] => (corners[1] - corners[0]).cross(corners[2] - corners[0]),
            n => n[a] * weights.x + n[b] * weights.y + n[c] * weights.z,
        };
        let normal = normal.normalize_or(towards_eye);
        let light = match &self.lighting.vertices[..] {
            [] => Visibility { key: 1.0, sky: 1.0 },
            l => Visibility {
                key: l[a].key * weights.x + l[b].key * weights.y + l[c].key * weights.z,
                sky: l[a].sky * weights.x + l[b].sky * weights.y + l[c].sky * weights.z,
            },
        };
        let uv = match &self.mesh.uvs[..] {
            [] => Vec2::ZERO,
            uv => uv[a] * weights.x + uv[b] * weights.y + uv[c] * weights.z,
        };
        tone(self.studio.shade(&Surface {
            base_color: self.texture.sample(uv, self.levels[hit.triangle as usize]),
            roughness: self.maps.roughness,
            metallic: self.maps.metallic,
            normal,
            towards_eye,
            light,
        }))
    }

    /// The object's colour (already weighted by `covered`) over shadow and background.
    fn compose(&self, color: Vec3, covered: f32, pixel: Vec2, size: f32) -> [u8; 4] {
        let srgb = Srgb::tables();
        let shadow = if covered < 1.0 { self.shadow(pixel, size) } else { 0.0 };
        // An even spread of thresholds instead of visible steps in the gradient.
        let noise = (pixel.x * 0.754_877_7 + pixel.y * 0.569_840_3).fract();
        match self.background {
            Background::Studio => {
                let from_centre = (pixel / size - Vec2::new(0.5, 0.46)).length();
                let level = 0.80 - 0.30 * smoothstep(0.05, 0.85, from_centre);
                let backdrop = Vec3::new(0.985, 0.99, 1.0) * (level * (1.0 - shadow));
                let [r, g, b] = (color + backdrop * (1.0 - covered)).to_array().map(|v| srgb.dithered(v, noise));
                [r, g, b, 255]
            }
            Background::Transparent => {
                let alpha = covered + (1.0 - covered) * shadow;
                let [r, g, b] = (color / alpha.max(1e-6)).to_array().map(|v| srgb.from_linear(v));
                [r, g, b, (alpha * 255.0 + noise).min(255.0) as u8]
            }
        }
    }

    /// Darkness, 0..=1, of the ground that the pixel shows.
    fn shadow(&self, pixel: Vec2, size: f32) -> f32 {
        let [right, up, back] = self.axes;
        let tan = (FOV / 2.0).tan();
        let place = (pixel / size * 2.0 - 1.0) * tan;
        let ray = right * place.x - up * place.y - back;
        let along = (self.ground - self.eye.y) / ray.y;
        if !(along.is_finite() && along > 0.0) || self.mesh.triangles.is_empty() {
            return 0.0;
        }
        let at = self.eye + ray * along;
        SHADOW * self.studio.shadow(self.lighting.ground(at.x, at.z))
    }
}

/// Where the eye must be for all points to fit into the picture, as near as
/// possible, looking along -`back`; exact for a perspective camera.
fn place_camera(points: &[Vec3], [right, up, back]: [Vec3; 3]) -> Vec3 {
    if points.is_empty() {
        return back * 3.0;
    }
    let tan = (FOV / 2.0).tan() * (1.0 - 2.0 * MARGIN);
    // A point at (x, z) is within the picture of an eye at (e, d) when
    // |x - e| <= (d - z) tan: each side is the tightest of such planes.
    let span = |axis: Vec3| {
        points.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), p| {
            let (x, z) = (axis.dot(*p), back.dot(*p) * tan);
            (low.min(x - z), high.max(x + z))
        })
    };
    let [(left, rightmost), (bottom, top)] = [span(right), span(up)];
    let distance = (rightmost - left).max(top - bottom) / (2.0 * tan);
    let deepest = points.iter().map(|p| back.dot(*p)).fold(f32::NEG_INFINITY, f32::max);
    right * (left + rightmost) / 2.0 + up * (bottom + top) / 2.0 + back * distance.max(deepest + 1e-3)
}

/// For each triangle the texture level whose texels are as large as a quarter pixel.
fn mip_levels(mesh: &Mesh, texture: &RgbaImage, projection: &Projection) -> Vec<f32> {
    if mesh.uvs.len() != mesh.positions.len() {
        return vec![f32::MAX; mesh.triangles.len()];
    }
    let size = Vec2::new(texture.width() as f32, texture.height() as f32);
    let mut levels = vec![0.0; mesh.triangles.len()];
    for (triangle, area) in projection.areas() {
        let [a, b, c] = mesh.triangles[triangle as usize].map(|v| mesh.uvs[v as usize] * size);
        let texels = (b - a).perp_dot(c - a).abs() / 2.0;
        let shaded = area / (SHADED * SHADED) as f32;
        levels[triangle as usize] = (texels / shaded.max(1e-6)).max(1e-6).log2() / 2.0;
    }
    levels
}
