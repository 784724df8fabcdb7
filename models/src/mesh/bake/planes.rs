//! From samples to the pixels of each map.

use std::ops::Range;

use glam::{Mat3, Vec2, Vec3, Vec4};
use rayon::prelude::*;

use super::{
    BANDS_AT_ONCE, BakeOptions, BakeSource, ColorSource, Extra,
    extra::{SHARPEST, curvatures, material_color},
    layout::{Layout, LowPoint, Sample},
    occlusion::{Place, Rays, blend},
    search::Search,
};
use crate::{
    error::StageError,
    image::{fill::fill_unknown, srgb::Srgb},
    mesh::{
        Mesh,
        bvh::SurfacePoint,
        raster::NOTHING,
        textured::{AlphaMode, Material, details::Detail},
    },
};

/// A map in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    BaseColor,
    /// Three times the same.
    Alpha,
    Normal,
    Orm,
    Emissive,
    Extra(Extra),
}

pub struct Bake<'a> {
    layout: &'a Layout<'a>,
    search: &'a Search<'a>,
    source: &'a BakeSource<'a>,
    options: &'a BakeOptions,
    kinds: Vec<Kind>,
    /// Roughness and metallic as factors beside the maps.
    material: Factors,
    /// Whether roughness and metallic are written into the map.
    varies: bool,
    /// For each vertex of the high mesh; empty unless asked for.
    curvatures: Vec<f32>,
    charts: Vec<u32>,
    /// Lowest corner and longest side of the low mesh's bounding box.
    low_box: (Vec3, f32),
    /// Longest side of the high mesh's bounding box.
    high_side: f32,
    sky: Rays,
    inwards: Rays,
    srgb: Srgb,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    pub roughness: f32,
    pub metallic: f32,
}

/// Pictures, row by row.
pub struct Baked {
    planes: Vec<(Kind, Vec<[u8; 3]>)>,
    pub material: Factors,
}

/// What a band, or all bands so far, came to.
#[derive(Default)]
struct Strip {
    /// In the order of `Bake::kinds`.
    planes: Vec<Vec<[u8; 3]>>,
    /// Chart of each texel, `NOTHING` where there is none.
    charts: Vec<u32>,
    /// Normal of the high surface times 127.
    facing: Vec<[i8; 3]>,
    visibility: Vec<u8>,
    /// Share of the occlusion map that an occlusion texture of the source has decided.
    given: Vec<u8>,
    thickness: Vec<u8>,
}

/// A sample's point of the high surface and what is there.
#[derive(Clone)]
struct Read {
    low: LowPoint,
    point: SurfacePoint,
    detail: Detail,
    /// Of the source, linear RGBA.
    color: Vec4,
}

impl Read {
    /// Whether what lies between two samples of a texel can be taken for their mean.
    fn is_like(&self, other: &Read) -> bool {
        // Two steps of sRGB, about, and of linear values.
        let alike = |a: Vec4, b: Vec4| (a - b).abs().cmple(a.max(b) * 0.02 + 0.004).all();
        let surface = |d: &Detail| Vec4::new(d.roughness, d.metallic, d.occlusion, 0.0);
        self.detail.material == other.detail.material
            && alike(self.color, other.color)
            && alike(surface(&self.detail), surface(&other.detail))
            && alike(self.detail.emissive.extend(0.0), other.detail.emissive.extend(0.0))
            // Two degrees.
            && self.detail.normal.dot(other.detail.normal) >= 0.9994
    }
}

/// A texel's samples, added up.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f32,
    /// Colour times alpha.
    color: Vec3,
    plain_color: Vec3,
    alpha: f32,
    /// Roughness, metallic.
    surface: Vec2,
    occlusion: f32,
    emissive: Vec3,
    /// Tangent space.
    normal: Vec3,
    object_normal: Vec3,
    height: f32,
    curvature: f32,
    position: Vec3,
}

impl<'a> Bake<'a> {
    pub fn new(
        layout: &'a Layout<'a>,
        search: &'a Search<'a>,
        source: &'a BakeSource<'a>,
        options: &'a BakeOptions,
    ) -> Self {
        let materials = &search.high.materials;
        let own = |m: &Material| Factors { roughness: m.roughness, metallic: m.metallic };
        let first = materials.first().map_or(Factors { roughness: options.roughness, metallic: 0.0 }, own);
        let has_textures = !search.high.mesh.uvs.is_empty();
        let varies =
            materials.iter().any(|m| (has_textures && m.metallic_roughness_texture.is_some()) || own(m) != first);
        let has_occlusion = has_textures && materials.iter().any(|m| m.occlusion_texture.is_some());
        let is_see_through =
            matches!(source.color, ColorSource::High) && materials.iter().any(|m| m.alpha != AlphaMode::Opaque);
        let glows = materials.iter().any(|m| m.emissive != [0.0; 3]);

        let mut kinds = Vec::new();
        if !matches!(source.color, ColorSource::Picture { .. }) {
            kinds.push(Kind::BaseColor);
        }
        let wanted = [
            (Kind::Alpha, is_see_through),
            (Kind::Normal, options.normal && source.high.is_some()),
            (Kind::Orm, options.occlusion.is_some() || varies || has_occlusion),
            (Kind::Emissive, glows),
        ];
        kinds.extend(wanted.iter().filter(|(_, is_wanted)| *is_wanted).map(|(kind, _)| *kind));
        kinds.extend(options.extras.iter().map(|&extra| Kind::Extra(extra)));
        let wants_curvature = options.extras.contains(&Extra::Curvature);
        Self {
            layout,
            search,
            source,
            options,
            material: if varies { Factors { roughness: 1.0, metallic: 1.0 } } else { first },
            varies,
            curvatures: if wants_curvature {
                curvatures(&search.high.mesh, search.details.normals())
            } else {
                Vec::new()
            },
            charts: layout.charts(),
            low_box: corner_and_side(layout.mesh),
            high_side: corner_and_side(&search.high.mesh).1,
            sky: Rays::new(options.occlusion.map_or(1, |o| o.samples)),
            inwards: Rays::new(options.thickness_samples),
            srgb: Srgb::tables(),
            kinds,
        }
    }

    pub fn run(self, step: &dyn Fn(u32, u32) -> Result<(), StageError>) -> Result<Baked, StageError> {
        let n_texels = self.layout.size as usize * self.layout.size as usize;
        let bands: Vec<usize> = (0..self.layout.n_bands()).collect();
        let groups: Vec<&[usize]> = bands.chunks(BANDS_AT_ONCE).collect();
        // One more for each plane that is filled, and one for the occlusion's blend.
        let total = (groups.len() + self.kinds.len() + 1) as u32;
        let mut all = Strip::with_capacity(self.kinds.len(), n_texels);
        step(0, total)?;
        for (done, group) in groups.iter().enumerate() {
            let strips: Vec<Strip> = group.par_iter().map(|&band| self.band(band)).collect();
            strips.iter().for_each(|strip| all.append(strip));
            step(done as u32 + 1, total)?;
        }
        self.blend(&mut all);
        step(groups.len() as u32 + 1, total)?;

        let is_known: Vec<bool> = all.charts.iter().map(|&chart| chart != NOTHING).collect();
        let unfilled = std::mem::take(&mut all.planes);
        drop(all);
        let mut planes = Vec::new();
        for (i, (kind, mut pixels)) in self.kinds.iter().copied().zip(unfilled).enumerate() {
            fill_unknown(&mut pixels, &mut is_known.clone(), self.layout.size as usize);
            planes.push((kind, pixels));
            step((groups.len() + 2 + i) as u32, total)?;
        }
        Ok(Baked { planes, material: self.material })
    }

    /// The texels of one band. Of each texel some samples are read first; the others
    /// only where those differ or lie beyond a chart's edge.
    fn band(&self, band: usize) -> Strip {
        let rows = self.layout.rows(band);
        let samples = self.layout.samples(band);
        let texels: Vec<Range<usize>> = samples
            .chunk_by(|a, b| a.texel == b.texel)
            .scan(0, |start, texel| {
                let range = *start..*start + texel.len();
                *start = range.end;
                Some(range)
            })
            .collect();
        let mut reads = vec![None; samples.len()];
        let mut last = None;
        self.read(texels.iter().flat_map(|texel| self.probes(texel)), &samples, &mut last, &mut reads);
        let is_plain = |texel: &Range<usize>| {
            texel.len() > 1 && self.probes(texel).all(|i| samples[i].barycentric.min_element() >= 0.0) && {
                let mut probes = self.probes(texel).filter_map(|i| reads[i].as_ref());
                let first = probes.next();
                first.is_some_and(|first| probes.all(|other| first.is_like(other)))
            }
        };
        let varied: Vec<Range<usize>> = texels.iter().filter(|texel| !is_plain(texel)).cloned().collect();
        let rest = varied.into_iter().flatten().filter(|&i| reads[i].is_none()).collect::<Vec<_>>();
        self.read(rest.into_iter(), &samples, &mut last, &mut reads);

        let n_texels = ((rows.end - rows.start) * self.layout.size) as usize;
        let mut strip = Strip::unknown(self.kinds.len(), n_texels);
        let mut places = vec![None; n_texels];
        for texel in texels {
            let mut sums = Sums::default();
            reads[texel.clone()].iter().flatten().for_each(|read| self.add(&mut sums, read));
            let (middle, at) = (self.middle(&texel), samples[texel.start].texel);
            if let Some(read) = &reads[middle] {
                let place = (at % self.layout.size, rows.start + at / self.layout.size);
                places[at as usize] = self.write(&mut strip, at as usize, place, &sums, &samples[middle], &read.point);
            }
        }
        if let Some(occlusion) = self.options.occlusion {
            let distance = occlusion.distance * self.search.diagonal;
            self.sky.visibilities(self.search, &places, self.layout.size as usize, distance, |i, visibility| {
                strip.visibility[i] = byte(visibility);
            });
        }
        strip
    }

    /// Of a texel's samples those that are read first: two opposite ones and the middle.
    fn probes(&self, texel: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let (first, middle, last) = (texel.start, self.middle(texel), texel.end - 1);
        [Some(first), (middle != first && middle != last).then_some(middle), (last != first).then_some(last)]
            .into_iter()
            .flatten()
    }

    /// The sample in the middle stands for the texel where one must do.
    fn middle(&self, texel: &Range<usize>) -> usize {
        let half = self.options.supersample as usize / 2;
        texel.start + (half * self.options.supersample as usize + half).min(texel.len() - 1)
    }

    /// Finds and reads the high surface at the given samples.
    fn read(
        &self,
        which: impl Iterator<Item = usize>,
        samples: &[Sample],
        last: &mut Option<(u32, f32)>,
        reads: &mut [Option<Read>],
    ) {
        let mut read_now = Vec::new();
        let mut points = Vec::new();
        for i in which {
            let low = self.layout.point(&samples[i]);
            let point = self.search.find(&samples[i], &low, last);
            let detail = self.search.details.at(point.face, point.barycentric, low.footprint);
            reads[i] = Some(Read { low, point, detail, color: detail.base_color });
            read_now.push(i);
            points.push(point);
        }
        for (i, color) in read_now.into_iter().zip(self.colors_of_points(&points)) {
            if let Some(read) = &mut reads[i] {
                read.color = color;
            }
        }
    }

    fn colors_of_points(&self, points: &[SurfacePoint]) -> Vec<Vec4> {
        let ColorSource::Points(color) = &self.source.color else { return Vec::new() };
        let positions: Vec<Vec3> = points.iter().map(|point| self.search.position(point)).collect();
        let normals: Vec<Vec3> =
            points.iter().map(|p| self.search.details.smooth_normal(p.face, p.barycentric)).collect();
        let colors = color(&positions, &normals);
        colors.into_iter().map(|[r, g, b, _]| Vec3::new(r, g, b).clamp(Vec3::ZERO, Vec3::ONE).extend(1.0)).collect()
    }

    fn add(&self, sums: &mut Sums, Read { low, point, detail, color }: &Read) {
        sums.n += 1.0;
        sums.color += color.truncate() * color.w;
        sums.plain_color += color.truncate();
        sums.alpha += color.w;
        sums.surface += Vec2::new(detail.roughness, detail.metallic);
        sums.occlusion += detail.occlusion;
        sums.emissive += detail.emissive;
        sums.object_normal += detail.normal;
        sums.normal += into_tangent_space(low, detail.normal);
        if !self.options.extras.is_empty() {
            let position = self.search.position(point);
            sums.height += (position - low.position).dot(low.normal);
            sums.position += position;
            if !self.curvatures.is_empty() {
                let triangle = self.search.high.mesh.triangles[point.face as usize];
                sums.curvature +=
                    Vec3::from_array(triangle.map(|v| self.curvatures[v as usize])).dot(point.barycentric);
            }
        }
    }

    /// Returns where occlusion has to be found by rays.
    fn write(
        &self,
        strip: &mut Strip,
        texel: usize,
        place: (u32, u32),
        sums: &Sums,
        sample: &Sample,
        point: &SurfacePoint,
    ) -> Option<Place> {
        let material = self.search.details.material(point.face);
        for (kind, plane) in self.kinds.iter().zip(&mut strip.planes) {
            plane[texel] = self.encode(*kind, sums, material);
        }
        strip.charts[texel] = self.charts[sample.face as usize];
        // Rays start on the surface, also for texels that continue it.
        let inside = point.barycentric.max(Vec3::ZERO);
        let point = &SurfacePoint { barycentric: inside / inside.element_sum(), ..*point };
        let at = Place {
            position: self.search.position(point),
            normal: self.search.details.smooth_normal(point.face, point.barycentric),
            face_normal: self.search.face_normal(point),
        };
        strip.facing[texel] = (at.normal * 127.0).round().to_array().map(|v| v as i8);
        strip.visibility[texel] = 255;
        let has_texture =
            self.search.high.materials.get(material as usize).is_some_and(|m| m.occlusion_texture.is_some());
        if self.options.occlusion.is_some() && has_texture {
            strip.given[texel] = 255;
        }
        if self.options.extras.contains(&Extra::Thickness) {
            let most = self.high_side;
            strip.thickness[texel] = byte(self.inwards.thickness(self.search, place, &at, most) / most);
        }
        (!has_texture).then_some(at)
    }

    fn encode(&self, kind: Kind, sums: &Sums, material: u32) -> [u8; 3] {
        let signed = |v: f32| byte(v * 0.5 + 0.5);
        match kind {
            Kind::BaseColor => {
                let color = if sums.alpha > 0.0 { sums.color / sums.alpha } else { sums.plain_color / sums.n };
                color.to_array().map(|v| self.srgb.from_linear(v))
            }
            Kind::Alpha => [byte(sums.alpha / sums.n); 3],
            Kind::Normal => {
                // glTF keeps normals on the outer side.
                let normal = Vec3::new(sums.normal.x, sums.normal.y, sums.normal.z.max(0.0));
                normal.normalize_or(Vec3::Z).to_array().map(signed)
            }
            Kind::Orm => {
                let surface = if self.varies { sums.surface / sums.n } else { Vec2::ONE };
                [byte(sums.occlusion / sums.n), byte(surface.x), byte(surface.y)]
            }
            Kind::Emissive => (sums.emissive / sums.n).to_array().map(|v| self.srgb.from_linear(v)),
            Kind::Extra(Extra::Curvature) => [signed(sums.curvature / sums.n * SHARPEST * self.search.diagonal); 3],
            Kind::Extra(Extra::Height) => [signed(sums.height / sums.n / self.search.cage); 3],
            // Follows when it has been blended.
            Kind::Extra(Extra::Thickness) => [0; 3],
            Kind::Extra(Extra::Position) => {
                let (low, side) = self.low_box;
                ((sums.position / sums.n - low) / side).to_array().map(byte)
            }
            Kind::Extra(Extra::ObjectNormal) => sums.object_normal.normalize_or(Vec3::Z).to_array().map(signed),
            Kind::Extra(Extra::MaterialId) => material_color(material).to_array().map(byte),
        }
    }

    /// Blends what single texels' rays saw and writes it into the planes.
    fn blend(&self, all: &mut Strip) {
        let width = self.layout.size as usize;
        let blended = |values: &[u8]| blend(values, &all.charts, &all.facing, width);
        let visibility = self.options.occlusion.map(|_| blended(&all.visibility));
        let thickness = self.options.extras.contains(&Extra::Thickness).then(|| blended(&all.thickness));
        for (kind, plane) in self.kinds.iter().zip(&mut all.planes) {
            match (kind, &visibility, &thickness) {
                (Kind::Orm, Some(visibility), _) => {
                    for ((pixel, &seen), _) in
                        plane.iter_mut().zip(visibility).zip(&all.given).filter(|(_, g)| **g == 0)
                    {
                        pixel[0] = seen;
                    }
                }
                (Kind::Extra(Extra::Thickness), _, Some(thickness)) => {
                    plane.iter_mut().zip(thickness).for_each(|(pixel, &value)| *pixel = [value; 3]);
                }
                _ => {}
            }
        }
    }
}

impl Baked {
    pub fn take(&mut self, kind: Kind) -> Option<Vec<[u8; 3]>> {
        let i = self.planes.iter().position(|(k, _)| *k == kind)?;
        Some(self.planes.swap_remove(i).1)
    }
}

impl Strip {
    fn with_capacity(n_planes: usize, n_texels: usize) -> Strip {
        let mut planes = Vec::new();
        planes.resize_with(n_planes, || Vec::with_capacity(n_texels));
        Strip { planes, ..Strip::default() }
    }

    fn unknown(n_planes: usize, n: usize) -> Strip {
        Strip {
            planes: vec![vec![[0; 3]; n]; n_planes],
            charts: vec![NOTHING; n],
            facing: vec![[0; 3]; n],
            visibility: vec![0; n],
            given: vec![0; n],
            thickness: vec![0; n],
        }
    }

    fn append(&mut self, next: &Strip) {
        for (plane, more) in self.planes.iter_mut().zip(&next.planes) {
            plane.extend_from_slice(more);
        }
        self.charts.extend_from_slice(&next.charts);
        self.facing.extend_from_slice(&next.facing);
        self.visibility.extend_from_slice(&next.visibility);
        self.given.extend_from_slice(&next.given);
        self.thickness.extend_from_slice(&next.thickness);
    }
}

/// The normal in terms of the low surface's tangent, bitangent and normal: the
/// exact inverse of what a renderer does with the interpolated frame.
fn into_tangent_space(low: &LowPoint, normal: Vec3) -> Vec3 {
    let along = low.tangent.truncate();
    let bitangent = low.normal.cross(along) * low.tangent.w;
    let frame = Mat3::from_cols(along, bitangent, low.normal);
    // Tangent and normal in line say nothing about directions across.
    if frame.determinant().abs() < 1e-4 { Vec3::Z } else { (frame.inverse() * normal).normalize_or(Vec3::Z) }
}

/// Lowest corner and longest side of the bounding box; the side is above 0.
fn corner_and_side(mesh: &Mesh) -> (Vec3, f32) {
    let (low, high) = mesh.bounds().unwrap_or_default();
    (low, (high - low).max_element().max(f32::MIN_POSITIVE))
}

/// 0..=1 to 0..=255; values outside are clamped.
fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}
