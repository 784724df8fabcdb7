//! How much light reaches each vertex and the ground: soft shadows by many
//! small lights, each with a depth map of the object.

use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::shade::smoothstep;
use crate::mesh::{
    Mesh,
    raster::{Camera, Cull, Frame, Projection},
};

/// Lights that stand in for the key light's disc, and for the sky.
const N_KEY: usize = 9;
const N_SKY: usize = 13;

/// Half the opening angle of the key light, in radians.
const KEY_RADIUS: f32 = 0.18;

/// Texels along a side of a depth map, and of the ground.
const MAP: u32 = 144;
const GROUND: usize = 160;

/// Side of the lit piece of ground, and where shadows start to fade and end, in
/// radii of the object.
const GROUND_SIDE: f32 = 3.4;
const FADE: [f32; 2] = [0.8, 1.65];

/// Height below which things darken the ground they almost touch, in radii of
/// the object, and how much.
const CONTACT_HEIGHT: f32 = 0.14;
const CONTACT: f32 = 0.8;

/// Shares of the key light and of the sky that arrive: 0 none, 1 all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visibility {
    pub key: f32,
    pub sky: f32,
}

pub struct Lighting {
    pub vertices: Vec<Visibility>,
    ground: Vec<Visibility>,
    ground_low: Vec2,
    ground_side: f32,
}

/// One of the small lights.
struct Lamp {
    towards: Vec3,
    is_key: bool,
    camera: Camera,
    map: Frame,
}

impl Lighting {
    /// `normals` has one entry a vertex; `towards_key` is a unit vector.
    pub fn new(mesh: &Mesh, normals: &[Vec3], towards_key: Vec3) -> Self {
        let (low, high) = mesh.bounds().unwrap_or_default();
        let centre = (low + high) / 2.0;
        let half = ((high - low).length() / 2.0).max(1e-6);
        let lamps: Vec<Lamp> = directions(towards_key)
            .into_par_iter()
            .map(|(towards, is_key)| {
                let camera = Camera::parallel(-towards, centre, half * 1.02);
                let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, MAP, MAP, Cull::Back);
                Lamp { towards, is_key, camera, map: Frame::draw(&projection) }
            })
            .collect();

        let texel = 2.0 * half / MAP as f32;
        let vertices = mesh
            .positions
            .par_iter()
            .zip(normals)
            .map(|(&p, &n)| gather(&lamps, p + n * texel * 1.5, n, texel))
            .collect();

        let ground_side = GROUND_SIDE * half;
        let ground_low = Vec2::new(centre.x, centre.z) - ground_side / 2.0;
        let step = ground_side / GROUND as f32;
        let contact = contact(mesh, Vec3::new(centre.x, low.y, centre.z), ground_side / 2.0, CONTACT_HEIGHT * half);
        let arriving: Vec<Visibility> = (0..GROUND * GROUND)
            .into_par_iter()
            .map(|i| {
                let at = ground_low + Vec2::new((i % GROUND) as f32 + 0.5, (i / GROUND) as f32 + 0.5) * step;
                // The ground casts no shadow, hence no bias.
                gather(&lamps, Vec3::new(at.x, low.y, at.y), Vec3::Y, 0.0)
            })
            .collect();
        // Hides that the lamps are few.
        let [key, sky] = [|v: &Visibility| v.key, |v: &Visibility| v.sky]
            .map(|share| blurred(arriving.iter().map(share).collect(), 5));
        let ground = (0..GROUND * GROUND)
            .map(|i| {
                let from_centre = Vec2::new((i % GROUND) as f32, (i / GROUND) as f32) - (GROUND as f32 - 1.0) / 2.0;
                let fade = smoothstep(FADE[0], FADE[1], from_centre.length() * step / half);
                let arriving = mix(Visibility { key: key[i], sky: sky[i] }, ALL, fade);
                mix(arriving, Visibility::default(), contact[i] * CONTACT)
            })
            .collect();
        Self { vertices, ground, ground_low, ground_side }
    }

    /// What arrives at a point of the ground plane; everything does far away.
    pub fn ground(&self, x: f32, z: f32) -> Visibility {
        let at = (Vec2::new(x, z) - self.ground_low) / self.ground_side * GROUND as f32 - 0.5;
        if !(at.min_element() >= 0.0 && at.max_element() < (GROUND - 1) as f32) {
            return ALL;
        }
        let (column, row) = (at.x as usize, at.y as usize);
        let part = at - Vec2::new(column as f32, row as f32);
        let texel = |dx, dy| self.ground[(row + dy) * GROUND + column + dx];
        let upper = mix(texel(0, 0), texel(1, 0), part.x);
        let lower = mix(texel(0, 1), texel(1, 1), part.x);
        mix(upper, lower, part.y)
    }
}

const ALL: Visibility = Visibility { key: 1.0, sky: 1.0 };

fn mix(a: Visibility, b: Visibility, part: f32) -> Visibility {
    Visibility { key: a.key + (b.key - a.key) * part, sky: a.sky + (b.sky - a.sky) * part }
}

/// Shares of light, by the cosine law, that reach a point with the given normal.
fn gather(lamps: &[Lamp], at: Vec3, normal: Vec3, bias: f32) -> Visibility {
    // Where no lamp is above the surface it is dark by the cosine law already.
    let mut sums = [(0.0, 1e-6); 2];
    for lamp in lamps {
        let cosine = normal.dot(lamp.towards);
        if cosine > 0.0 {
            let (arriving, all) = &mut sums[usize::from(lamp.is_key)];
            *arriving += cosine * lamp.reaches(at + lamp.towards * bias);
            *all += cosine;
        }
    }
    let [sky, key] = sums.map(|(arriving, all)| arriving / all);
    Visibility { key, sky }
}

impl Lamp {
    /// 0..=1, smoothed over two texels of the depth map.
    fn reaches(&self, at: Vec3) -> f32 {
        let seen = self.camera.to_clip.transform_point3(at);
        let pixel = Vec2::new(seen.x + 1.0, 1.0 - seen.y) * (MAP as f32 / 2.0) - 0.5;
        if !(pixel.min_element() >= 0.0 && pixel.max_element() < (MAP - 1) as f32) {
            return 1.0;
        }
        let start = pixel.y as usize * MAP as usize + pixel.x as usize;
        let part = pixel.fract();
        let free = |i: usize| if self.map.depth[i] > seen.z { 0.0 } else { 1.0 };
        let upper = free(start) * (1.0 - part.x) + free(start + 1) * part.x;
        let lower = free(start + MAP as usize) * (1.0 - part.x) + free(start + MAP as usize + 1) * part.x;
        upper * (1.0 - part.y) + lower * part.y
    }
}

/// Unit vectors to the lamps, and whether they are part of the key light.
fn directions(towards_key: Vec3) -> Vec<(Vec3, bool)> {
    let [right, up, _] = crate::mesh::raster::axes(-towards_key);
    let key = (0..N_KEY).map(|i| {
        let offset = spiral(i, N_KEY) * KEY_RADIUS;
        ((towards_key + right * offset.x + up * offset.y).normalize(), true)
    });
    // Projecting an even disc up to the hemisphere spreads lamps by the cosine
    // law of the ground; half-way to an even hemisphere serves walls as well.
    let sky = (0..N_SKY).map(|i| {
        let flat = spiral(i, N_SKY) * 0.97;
        let height = (1.0 - flat.length_squared()).sqrt();
        (Vec3::new(flat.x, height.max(0.2), flat.y).normalize(), false)
    });
    key.chain(sky).collect()
}

/// Points spread evenly over the unit disc (Vogel, "A better way to construct
/// the sunflower head", 1979).
fn spiral(i: usize, n: usize) -> Vec2 {
    let radius = ((i as f32 + 0.5) / n as f32).sqrt();
    Vec2::from_angle(i as f32 * 2.399_963) * radius
}

/// For each place of the ground how closely something hovers over it, 0..=1,
/// seen from below: 1 at height 0, 0 at `height` and above.
fn contact(mesh: &Mesh, centre: Vec3, half: f32, height: f32) -> Vec<f32> {
    let n = GROUND as u32;
    // Its near plane is the ground: depth 1 there, falling by 1 in 2 `half`.
    let camera = Camera::parallel(Vec3::Y, centre + Vec3::Y * half, half);
    let frame = Frame::draw(&Projection::new(&mesh.positions, &mesh.triangles, &camera, n, n, Cull::Back));
    let near = (0..GROUND * GROUND)
        .map(|i| {
            // +Z is up in the picture, but counted upwards in rows of the ground.
            let depth = frame.depth[(GROUND - 1 - i / GROUND) * GROUND + i % GROUND];
            (1.0 - (1.0 - depth) * 2.0 * half / height).max(0.0)
        })
        .collect();
    // Small feet would vanish in the blur.
    blurred(near, 3).into_iter().map(|share| (share * 1.8).min(1.0)).collect()
}

/// A map of the ground, smoothed by the binomial filter, three texels wide.
fn blurred(mut map: Vec<f32>, n_times: usize) -> Vec<f32> {
    for stride in [1, GROUND].into_iter().cycle().take(2 * n_times) {
        let before = map.clone();
        for i in stride..map.len() - stride {
            map[i] = before[i] * 0.5 + (before[i - stride] + before[i + stride]) * 0.25;
        }
    }
    map
}
