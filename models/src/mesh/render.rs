//! A lit picture of a mesh: three-quarter view, studio light, soft shadows.
//!
//! In: mesh and its maps. Out: sRGB pixels. 4x4 samples a pixel decide what is
//! visible, every quarter of a pixel reads the texture for itself. Equal input
//! gives equal bytes, whatever the number of threads.

mod light;
mod shade;
mod texture;

use ::image::RgbaImage;
use glam::{Vec2, Vec3, Vec4};
use rayon::prelude::*;

use self::{
    light::{Lighting, Visibility},
    shade::{Studio, Surface, smoothstep, tone},
    texture::Texture,
};
use super::{
    Maps, Mesh,
    raster::{Camera, Cull, NOTHING, Projection, axes},
    tangents::vertex_tangents,
};
use crate::image::srgb::{Srgb, to_linear};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Width and height of the picture, in pixels.
    pub size: u32,
    pub background: Background,
    /// Degrees the camera stands to the right of the object's front.
    pub azimuth: f32,
    /// Degrees the camera looks down, between -80 and 80.
    pub elevation: f32,
    /// How many times larger than just fitting; at least 1.
    pub zoom: f32,
    pub paint: Paint,
}

/// What the surface shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Materials in the studio's light.
    Lit,
    /// Directions in which light is reflected, as in a normal map: red to the right, green up, blue
    /// to the camera.
    Normals,
    /// Edges of the triangles on clay.
    Wires,
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
        let (azimuth, elevation) = (30.0, 14.0);
        Self { size: 512, background: Background::Studio, azimuth, elevation, zoom: 1.0, paint: Paint::Lit }
    }
}

/// Vertical field of view, in radians: about a 70 mm lens.
const FOV: f32 = 0.5;

/// Free space around the object, relative to the picture.
const MARGIN: f32 = 0.085;

/// Samples along a side of a pixel, and of each of its quarters.
const SAMPLES: u32 = 4;
const SHADED: u32 = 2;

/// Pixel rows that are drawn together.
const BAND: u32 = 8;

/// How dark the shadow on the ground can get.
const SHADOW: f32 = 0.78;

/// Base colour of what has wires, and of those; linear. Wires are this wide, in pixels.
const CLAY: Vec3 = Vec3::new(0.42, 0.40, 0.37);
const WIRE: Vec3 = Vec3::new(0.01, 0.03, 0.07);
const WIRE_WIDTH: f32 = 0.9;

/// Draws the mesh. Without triangles there is only the background. Texture
/// coordinates and normals may be missing: then the base colour is the texture's
/// mean, and faces are flat.
pub fn render(mesh: &Mesh, maps: &Maps, look: &Look) -> RgbaImage {
    render_framed(mesh, maps, look, &mesh.positions)
}

/// The same with the camera placed so that all points of `framed` fit into the
/// picture; the mesh should lie among them.
pub fn render_framed(mesh: &Mesh, maps: &Maps, look: &Look, framed: &[Vec3]) -> RgbaImage {
    let size = look.size;
    let mut picture = RgbaImage::new(size, size);
    if size == 0 {
        return picture;
    }
    let (turn, tilt) = (look.azimuth.to_radians(), look.elevation.clamp(-80.0, 80.0).to_radians());
    let back = Vec3::new(turn.sin() * tilt.cos(), tilt.sin(), turn.cos() * tilt.cos());
    let axes = axes(-back);
    let eye = place_camera(framed, axes);
    let near = mesh.positions.iter().map(|p| (eye - *p).dot(back)).fold(f32::INFINITY, f32::min) * 0.5;
    let near = if near.is_finite() { near.max(1e-6) } else { 1.0 };
    let fov = 2.0 * ((FOV / 2.0).tan() / look.zoom.max(1.0)).atan();
    let camera = Camera::perspective(eye, eye - back, fov, 1.0, near);
    let n_samples = size * SAMPLES;
    let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, n_samples, n_samples, Cull::Back);

    let normals = if mesh.normals.len() == mesh.positions.len() { mesh.normals.clone() } else { Vec::new() };
    let studio = Studio::new(axes);
    let scene = Scene {
        mesh,
        texture: Texture::new(&maps.base_color),
        normal_map: maps.normal.as_ref().map(Texture::linear),
        orm: maps.orm.as_ref().map(Texture::linear),
        emissive: maps.emissive.as_ref().map(Texture::srgb),
        tangents: if maps.normal.is_some() && !mesh.uvs.is_empty() { vertex_tangents(mesh) } else { Vec::new() },
        maps,
        levels: mip_levels(mesh, &maps.base_color, &projection),
        lighting: Lighting::new(mesh, &normals, studio.towards_key),
        normals,
        studio,
        axes,
        eye,
        ground: mesh.bounds().map_or(0.0, |(low, _)| low.y),
        background: look.background,
        paint: look.paint,
        tan: (fov / 2.0).tan(),
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
    normal_map: Option<Texture>,
    orm: Option<Texture>,
    emissive: Option<Texture>,
    /// One a vertex where there is a normal map, else empty.
    tangents: Vec<Vec4>,
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
    paint: Paint,
    /// Of half the field of view.
    tan: f32,
}

/// What a pixel shows of one face, for each quarter of the pixel.
#[derive(Clone, Copy, Default)]
struct Patch {
    face: u32,
    n_samples: [f32; 4],
    /// Of the samples' places, in samples from the pixel's corner.
    sums: [Vec2; 4],
}

/// What the maps hold for a piece of surface; while it is added up, times `n`.
#[derive(Clone, Copy, Default)]
struct Texel {
    n: f32,
    base_color: Vec3,
    /// Tangent space.
    bump: Vec3,
    /// Occlusion, roughness and metallic.
    orm: Vec3,
    emissive: Vec3,
}

impl Texel {
    fn add(&mut self, scene: &Scene, uv: Vec2, level: f32, n: f32) {
        let read = |map: &Option<Texture>, missing: Vec3| map.as_ref().map_or(missing, |map| map.sample(uv, level));
        self.n += n;
        self.base_color += scene.texture.sample(uv, level) * n;
        self.bump += (read(&scene.normal_map, Vec3::new(0.5, 0.5, 1.0)) * 2.0 - 1.0) * n;
        self.orm += read(&scene.orm, Vec3::ONE) * n;
        self.emissive += read(&scene.emissive, Vec3::ZERO) * n;
    }

    fn mean(self) -> Texel {
        Texel {
            n: 1.0,
            base_color: self.base_color / self.n,
            bump: self.bump / self.n,
            orm: self.orm / self.n,
            emissive: self.emissive / self.n,
        }
    }
}

impl Scene<'_> {
    /// sRGB pixel (x, y + first_row) from the samples of the band.
    fn pixel(&self, projection: &Projection, faces: &[u32], first_row: u32, x: u32, y: u32) -> [u8; 4] {
        let center = Vec2::new(x as f32, (y + first_row) as f32) + 0.5;
        let size = projection.width as f32 / SAMPLES as f32;
        let row = |dy: u32| {
            let start = ((y * SAMPLES + dy) * projection.width + x * SAMPLES) as usize;
            &faces[start..start + SAMPLES as usize]
        };
        if (0..SAMPLES).all(|dy| row(dy).iter().all(|&face| face == NOTHING)) {
            return self.compose(Vec3::ZERO, 0.0, center, size);
        }
        let corner = (center - 0.5) * SAMPLES as f32;
        let mut patches = [Patch::default(); (SAMPLES * SAMPLES) as usize];
        let mut n_patches = 0;
        for dy in 0..SAMPLES {
            for (dx, &face) in (0..SAMPLES).zip(row(dy)) {
                if face == NOTHING {
                    continue;
                }
                let known = patches[..n_patches].iter().position(|p| p.face == face);
                let patch = &mut patches[known.unwrap_or(n_patches)];
                n_patches += usize::from(known.is_none());
                patch.face = face;
                patch.n_samples[(dy / SHADED * SHADED + dx / SHADED) as usize] += 1.0;
                patch.sums[(dy / SHADED * SHADED + dx / SHADED) as usize] += Vec2::new(dx as f32, dy as f32) + 0.5;
            }
        }
        let (mut color, mut covered) = (Vec3::ZERO, 0.0);
        for patch in &patches[..n_patches] {
            let n: f32 = patch.n_samples.iter().sum();
            color += self.surface(projection, patch, corner) * n;
            covered += n;
        }
        let all = (SAMPLES * SAMPLES) as f32;
        self.compose(color / all, covered / all, center, size)
    }

    /// Tone-mapped linear colour of what a pixel shows of one face. The texture is
    /// read once for each quarter of the pixel, light computed once.
    fn surface(&self, projection: &Projection, patch: &Patch, corner: Vec2) -> Vec3 {
        let n: f32 = patch.n_samples.iter().sum();
        let middle = patch.sums.iter().sum::<Vec2>() / n;
        let hit = projection.hit(patch.face, corner + middle);
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
        let light = match &self.lighting.vertices[..] {
            [] => Visibility { key: 1.0, sky: 1.0 },
            l => Visibility {
                key: l[a].key * weights.x + l[b].key * weights.y + l[c].key * weights.z,
                sky: l[a].sky * weights.x + l[b].sky * weights.y + l[c].sky * weights.z,
            },
        };
        let level = self.levels[hit.triangle as usize];
        let mut texel = Texel::default();
        match &self.mesh.uvs[..] {
            [] => texel.add(self, Vec2::ZERO, level, 1.0),
            uv => {
                for (&n, &places) in patch.n_samples.iter().zip(&patch.sums).filter(|(n, _)| **n > 0.0) {
                    let weights = projection.hit(patch.face, corner + places / n).barycentric;
                    texel.add(self, uv[a] * weights.x + uv[b] * weights.y + uv[c] * weights.z, level, n);
                }
            }
        }
        let texel = texel.mean();
        let mut normal = normal.normalize_or(towards_eye);
        if let [_, ..] = &self.tangents[..] {
            let t = [a, b, c].map(|v| self.tangents[v]);
            let along = (t[0] * weights.x + t[1] * weights.y + t[2] * weights.z).truncate().normalize_or_zero();
            let bitangent = normal.cross(along) * t[0].w;
            let bumpy = along * texel.bump.x + bitangent * texel.bump.y + normal * texel.bump.z;
            normal = bumpy.normalize_or(normal);
        }
        let [occlusion, roughness, metallic] = texel.orm.to_array();
        let lit = Surface {
            base_color: texel.base_color,
            roughness: self.maps.roughness * roughness,
            metallic: self.maps.metallic * metallic,
            normal,
            towards_eye,
            // Both say how much of the sky is hidden, one coarsely and far around, one finely and near by.
            light: Visibility { sky: light.sky.min(occlusion), ..light },
        };
        match self.paint {
            Paint::Lit => tone(self.studio.shade(&lit) + texel.emissive),
            Paint::Normals => Vec3::from(self.axes.map(|axis| to_linear(0.5 + 0.5 * normal.dot(axis)))),
            Paint::Wires => {
                let clay = Surface { base_color: CLAY, roughness: 0.9, metallic: 0.0, ..lit };
                let distance = edge_distance(projection, patch.face, corner + middle, weights);
                let share = (0.5 + WIRE_WIDTH / 2.0 - distance).clamp(0.0, 1.0);
                tone(self.studio.shade(&clay)).lerp(WIRE, share)
            }
        }
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
        let place = (pixel / size * 2.0 - 1.0) * self.tan;
        let ray = right * place.x - up * place.y - back;
        let along = (self.ground - self.eye.y) / ray.y;
        if !(along.is_finite() && along > 0.0) || self.mesh.triangles.is_empty() {
            return 0.0;
        }
        let at = self.eye + ray * along;
        // No shadow is cut off by the frame.
        let inwards = 1.0 - (pixel / size * 2.0 - 1.0).abs();
        let whole = smoothstep(0.0, 0.4, inwards.x) * smoothstep(0.0, 0.14, inwards.y);
        SHADOW * whole * self.studio.shadow(self.lighting.ground(at.x, at.z))
    }
}

/// Pixels from a place on a face, in samples, to the nearest of its edges; `weights` are its
/// barycentric coordinates.
fn edge_distance(projection: &Projection, face: u32, place: Vec2, weights: Vec3) -> f32 {
    // Beyond the face nothing changes: of two opposite steps one stays on it.
    let change = |step: Vec2| (projection.hit(face, place + step).barycentric - weights).abs();
    let across = |axis: Vec2| change(axis).max(change(-axis));
    let (x, y) = (across(Vec2::X), across(Vec2::Y));
    let steepness = (x * x + y * y).map(f32::sqrt);
    (weights / steepness.max(Vec3::splat(1e-9))).min_element() / SAMPLES as f32
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
    let nearest = points.iter().map(|p| back.dot(*p)).fold(f32::NEG_INFINITY, f32::max);
    let distance = distance.max(nearest + 1e-3 * (1.0 + nearest.abs()));
    // Along the axis with room to spare the picture's middle is not yet the
    // object's: each step takes away most of what is missing.
    let centred = |axis: Vec3, start: f32| {
        (0..6).fold(start, |at, _| {
            let seen = points.iter().map(|p| (axis.dot(*p) - at) / (distance - back.dot(*p)));
            let (low, high) = seen.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            at + (low + high) / 2.0 * (distance - nearest)
        })
    };
    right * centred(right, (left + rightmost) / 2.0) + up * centred(up, (bottom + top) / 2.0) + back * distance
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

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;
    use crate::mesh::test_shapes::{cuboid, lens};

    fn maps(color: [u8; 3]) -> Maps {
        let [r, g, b] = color;
        Maps {
            base_color: RgbaImage::from_pixel(4, 4, Rgba([r, g, b, 255])),
            roughness: 0.8,
            metallic: 0.0,
            ..Maps::default()
        }
    }

    fn ball() -> Mesh {
        let mut mesh = lens(Vec2::splat(0.5), 0.5, 24);
        mesh.positions.iter_mut().for_each(|p| p.y += 0.5);
        mesh
    }

    fn transparent(size: u32) -> Look {
        Look { size, background: Background::Transparent, ..Look::default() }
    }

    /// Columns and rows, first and last, whose pixels are opaque.
    fn opaque_box(picture: &RgbaImage) -> [u32; 4] {
        let all = picture.enumerate_pixels().filter(|(_, _, p)| p.0[3] == 255);
        all.fold([u32::MAX, 0, u32::MAX, 0], |[l, r, t, b], (x, y, _)| [l.min(x), r.max(x), t.min(y), b.max(y)])
    }

    #[test]
    fn the_object_fills_the_frame_up_to_the_margin() {
        for mesh in
            [ball(), cuboid(Vec3::new(7.0, 1.0, -3.0), Vec3::new(3.0, 1.0, 0.2)), lens(Vec2::new(0.06, 0.3), 0.05, 20)]
        {
            let [left, right, top, bottom] = opaque_box(&render(&mesh, &maps([200; 3]), &transparent(200)));
            let longer = (right - left).max(bottom - top) as f32 + 1.0;
            assert!((longer / 200.0 - (1.0 - 2.0 * MARGIN)).abs() < 0.02, "{longer}");
            assert!((left + right).abs_diff(199) <= 3 && (top + bottom).abs_diff(199) <= 3);
        }
    }

    #[test]
    fn colours_survive_the_light() {
        let color = [180, 90, 40];
        let picture = render(&ball(), &maps(color), &transparent(128));
        let lit: Vec<_> = picture.pixels().filter(|p| p.0[3] == 255).collect();
        let mean: [f32; 3] =
            std::array::from_fn(|k| lit.iter().map(|p| f32::from(p.0[k])).sum::<f32>() / lit.len() as f32);
        for (seen, want) in mean.iter().zip(color) {
            assert!((seen / f32::from(want) - 0.9).abs() < 0.2, "{mean:?} of {color:?}");
        }
    }

    #[test]
    fn normals_are_shown_as_in_a_normal_map() {
        let look = Look { paint: Paint::Normals, azimuth: 0.0, elevation: 0.0, ..transparent(101) };
        let picture = render(&ball(), &maps([9; 3]), &look);
        let [left, right, top, bottom] = opaque_box(&picture);
        let (x, y) = ((left + right) / 2, (top + bottom) / 2);
        let seen = |x: u32, y: u32| picture.get_pixel(x, y).0;
        let [r, g, b, _] = seen(x, y);
        assert!(r.abs_diff(128) < 6 && g.abs_diff(128) < 6 && b > 250, "{:?}", seen(x, y));
        let (along, across) = ((right - left) / 4, (bottom - top) / 4);
        assert!(seen(x + along, y)[0] > 150 && seen(x - along, y)[0] < 106, "right is red");
        assert!(seen(x, y - across)[1] > 150 && seen(x, y + across)[1] < 106, "up is green");
    }

    #[test]
    fn wires_are_where_edges_are_and_not_wider_when_near() {
        let quad = Mesh {
            positions: vec![Vec3::ZERO, Vec3::X, Vec3::new(1.0, 1.0, 0.0), Vec3::Y],
            triangles: vec![[0, 1, 2], [0, 2, 3]],
            ..Mesh::default()
        };
        let dark = |zoom: f32| {
            let look = Look { paint: Paint::Wires, azimuth: 0.0, elevation: 0.0, zoom, ..transparent(128) };
            let picture = render(&quad, &maps([200; 3]), &look);
            let row: Vec<u8> =
                (0..128).map(|x| picture.get_pixel(x, 50)).filter(|p| p.0[3] == 255).map(|p| p.0[0]).collect();
            let lightest = *row.iter().max().unwrap();
            row.into_iter().filter(|&level| level < lightest / 4 * 3).count()
        };
        // The diagonal; the sides are outside of whole pixels, or of the picture.
        for zoom in [1.0, 3.0, 9.0] {
            assert!((1..=3).contains(&dark(zoom)), "{} at {zoom}", dark(zoom));
        }
    }

    #[test]
    fn zoom_enlarges_about_the_middle() {
        let picture = render(&ball(), &maps([200; 3]), &Look { zoom: 3.0, ..transparent(64) });
        assert_eq!(opaque_box(&picture), [0, 63, 0, 63]);
    }

    #[test]
    fn normals_occlusion_roughness_and_glow_are_seen() {
        let mut mesh = ball();
        mesh.uvs = mesh.positions.iter().map(|p| p.truncate() + Vec2::new(0.5, 0.0)).collect();
        let level = |maps: &Maps| {
            let picture = render(&mesh, maps, &transparent(96));
            let lit: Vec<u32> = picture.pixels().filter(|p| p.0[3] == 255).map(|p| u32::from(p.0[0])).collect();
            lit.iter().sum::<u32>() as f32 / lit.len() as f32
        };
        let plain = maps([128; 3]);
        let all = |pixel: [u8; 3]| Some(::image::RgbImage::from_pixel(4, 4, ::image::Rgb(pixel)));
        let with = |change: &dyn Fn(&mut Maps)| {
            let mut maps = plain.clone();
            change(&mut maps);
            level(&maps)
        };
        let even = level(&plain);
        // Maps that say nothing change nothing, but for the rounding of 128 / 255.
        assert!((with(&|m| m.orm = all([255; 3])) - even).abs() < 0.01);
        assert!((with(&|m| m.normal = all([128, 128, 255])) - even).abs() < 1.0);
        assert!(with(&|m| m.orm = all([60, 255, 255])) < even - 15.0, "occlusion darkens");
        assert!(with(&|m| m.emissive = all([90; 3])) > even + 10.0, "light is added");
        // The light stands to the left of the camera: u grows to the right, away from it.
        let (left, right) = (with(&|m| m.normal = all([40, 128, 200])), with(&|m| m.normal = all([215, 128, 200])));
        assert!(left > right + 10.0, "{left} {right}");
        assert!(with(&|m| (m.orm, m.metallic) = (all([255, 255, 0]), 1.0)) == even, "metallic is multiplied");
    }

    #[test]
    fn light_comes_from_above_on_the_left_and_the_ground_is_dark_below() {
        let picture = render(&ball(), &maps([128; 3]), &Look { size: 200, ..Look::default() });
        let at = |x: u32, y: u32| picture.get_pixel(x, y).0[1];
        assert!(at(70, 60) > at(140, 140) + 40, "{} {}", at(70, 60), at(140, 140));
        // Just below the ball, and in a corner.
        assert!(at(108, 186) + 40 < at(4, 195), "{} {}", at(108, 186), at(4, 195));
        assert!(picture.pixels().all(|p| p.0[3] == 255));
    }

    #[test]
    fn edges_are_smooth() {
        let picture = render(&ball(), &maps([10; 3]), &Look { size: 200, elevation: 0.0, ..Look::default() });
        // Along the left half of the middle row, from background to ball.
        let row: Vec<u8> = (0..100).map(|x| picture.get_pixel(x, 60).0[1]).collect();
        let between = row.iter().filter(|v| (60..160).contains(*v)).count();
        assert!((1..=3).contains(&between), "{row:?}");
    }

    #[test]
    fn equal_input_gives_equal_bytes_on_any_number_of_threads() {
        let draw = || render(&ball(), &maps([128; 3]), &Look { size: 96, ..Look::default() });
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(draw);
        let together = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap().install(draw);
        assert!(alone == together);
    }

    #[test]
    fn nothing_flat_and_upside_down_are_survived() {
        let look = Look { size: 64, ..Look::default() };
        let empty = render(&Mesh::default(), &maps([128; 3]), &look);
        assert!(empty.pixels().all(|p| p.0[0] > 150));
        let flat = Mesh { positions: vec![Vec3::ZERO; 3], triangles: vec![[0, 1, 2]], ..Mesh::default() };
        assert_eq!(render(&flat, &maps([128; 3]), &look).dimensions(), (64, 64));
        let below = Look { elevation: -80.0, azimuth: 180.0, ..look };
        assert_eq!(render(&ball(), &maps([128; 3]), &below).dimensions(), (64, 64));
        assert_eq!(render(&ball(), &maps([128; 3]), &Look { size: 0, ..look }).dimensions(), (0, 0));
    }
}
