//! Colour of a lit surface point, in linear light.
//!
//! Lambert and GGX under a key light, a sky above and a floor below; tone curve
//! by Khronos ("PBR Neutral", 2024), which leaves base colours as they are.

use glam::Vec3;

use super::light::Visibility;

/// Fixed to the camera, so that every asset is lit alike from where it is seen.
pub struct Studio {
    pub towards_key: Vec3,
    towards_rim: Vec3,
    towards_camera: Vec3,
}

const KEY: Vec3 = Vec3::new(2.30, 2.23, 2.12);
const RIM: Vec3 = Vec3::new(0.55, 0.62, 0.75);
const SKY: Vec3 = Vec3::new(0.47, 0.50, 0.55);
const FLOOR: Vec3 = Vec3::new(0.30, 0.28, 0.26);
const HEADLIGHT: f32 = 0.16;

/// Light reflected by any non-metal seen head-on.
const F0: f32 = 0.04;

pub struct Surface {
    /// Linear, 0..=1.
    pub base_color: Vec3,
    pub roughness: f32,
    pub metallic: f32,
    /// Unit length, on the side of the eye.
    pub normal: Vec3,
    /// Unit vector to the eye.
    pub towards_eye: Vec3,
    pub light: Visibility,
}

impl Studio {
    /// `right`, `up`, `back` are the camera's axes.
    pub fn new([right, _, back]: [Vec3; 3]) -> Self {
        let level_back = Vec3::new(back.x, 0.0, back.z).normalize_or(Vec3::Z);
        Self {
            towards_key: (level_back * 0.75 - right * 0.72 + Vec3::Y * 0.95).normalize(),
            towards_rim: (right * 0.9 - level_back * 0.65 + Vec3::Y * 0.5).normalize(),
            towards_camera: back,
        }
    }

    /// Linear colour, before the tone curve.
    pub fn shade(&self, s: &Surface) -> Vec3 {
        use std::f32::consts::PI;
        let n = s.normal;
        let key_cosine = n.dot(self.towards_key).max(0.0) * s.light.key;
        let up = 0.5 + 0.5 * n.y;
        // Light from the floor is cut off where the sky is, by about half.
        let ambient = SKY * up * s.light.sky + FLOOR * (1.0 - up) * (0.5 + 0.5 * s.light.sky);
        let front = n.dot(self.towards_camera).max(0.0) * HEADLIGHT * (0.4 + 0.6 * s.light.sky);
        let rim_cosine = n.dot(self.towards_rim).max(0.0) * s.light.sky;
        let diffuse = KEY * (key_cosine / PI) + ambient + front + RIM * (rim_cosine / PI);

        let f0 = Vec3::splat(F0).lerp(s.base_color, s.metallic);
        let glint = KEY * (key_cosine * ggx(n, self.towards_key, s.towards_eye, s.roughness, f0))
            + RIM * (rim_cosine * ggx(n, self.towards_rim, s.towards_eye, s.roughness, f0));
        let mirrored = reflect(s.towards_eye, n);
        let room = FLOOR.lerp(SKY * 1.4, smoothstep(-0.3 - s.roughness, 0.3 + s.roughness, mirrored.y));
        let sheen = room * ambient_reflectance(f0, s.roughness, n.dot(s.towards_eye).max(0.0)) * s.light.sky;
        s.base_color * (1.0 - s.metallic) * diffuse + glint + sheen
    }

    /// Share of the light at a floor point that is missing, 0..=1.
    pub fn shadow(&self, light: Visibility) -> f32 {
        let (key, sky) = (KEY.y * self.towards_key.y / std::f32::consts::PI, SKY.y);
        1.0 - (key * light.key + sky * light.sky) / (key + sky)
    }
}

fn reflect(towards_eye: Vec3, n: Vec3) -> Vec3 {
    n * (2.0 * n.dot(towards_eye)) - towards_eye
}

/// Cook-Torrance with GGX and the height-correlated Smith term; the cosine of
/// the light is left to the caller. Walter et al. 2007, Heitz 2014.
fn ggx(n: Vec3, towards_light: Vec3, towards_eye: Vec3, roughness: f32, f0: Vec3) -> Vec3 {
    let half = (towards_light + towards_eye).normalize_or(n);
    let alpha_2 = roughness.max(0.08).powi(4);
    let (n_h, n_l, n_v) = (n.dot(half).max(0.0), n.dot(towards_light).max(1e-3), n.dot(towards_eye).max(1e-3));
    let d = n_h * n_h * (alpha_2 - 1.0) + 1.0;
    let distribution = alpha_2 / (std::f32::consts::PI * d * d);
    let smith = |a: f32, b: f32| a * (b * b * (1.0 - alpha_2) + alpha_2).sqrt();
    let visibility = 0.5 / (smith(n_l, n_v) + smith(n_v, n_l));
    let f = f0 + (1.0 - f0) * (1.0 - towards_eye.dot(half).clamp(0.0, 1.0)).powi(5);
    f * (distribution * visibility)
}

/// How much of an even surrounding a rough surface mirrors: Lazarov's fit,
/// "Getting More Physical in Call of Duty: Black Ops II", 2013.
fn ambient_reflectance(f0: Vec3, roughness: f32, n_v: f32) -> Vec3 {
    let r = roughness * glam::Vec4::new(-1.0, -0.0275, -0.572, 0.022) + glam::Vec4::new(1.0, 0.0425, 1.04, -0.04);
    let a = (r.x * r.x).min((-9.28 * n_v).exp2()) * r.x + r.y;
    f0 * (-1.04 * a + r.z) + (1.04 * a + r.w)
}

/// Khronos PBR Neutral: takes away what surfaces mirror of their surroundings,
/// leaves colours up to 0.8 as they are, and rolls off to white.
pub fn tone(color: Vec3) -> Vec3 {
    /// Mirrored by a surface seen head-on in this studio; the standard says `F0`,
    /// for surroundings as bright as the key light.
    const MIRRORED: f32 = 0.015;
    const START: f32 = 0.8 - MIRRORED;
    let x = color.min_element();
    let color = color - if x < 2.0 * MIRRORED { x - x * x / (4.0 * MIRRORED) } else { MIRRORED };
    let peak = color.max_element();
    if peak < START {
        return color;
    }
    let room = 1.0 - START;
    let new_peak = 1.0 - room * room / (peak + room - START);
    let grey = 1.0 - 1.0 / (0.15 * (peak - new_peak) + 1.0);
    (color * (new_peak / peak)).lerp(Vec3::splat(new_peak), grey)
}

pub fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
