//! Material files of OBJ to metallic-roughness materials.
//!
//! Format: Wavefront, "MTL material format", 1995, and the PBR extension by Exocortex
//! (`Pr`, `Pm`, `map_Pr`, `map_Pm`, `norm`). The translation, which the format
//! leaves open:
//!
//! - `Kd` is linear, as Blender has it; where there is a `map_Kd`, that alone
//!   is the base colour, because many programs write a meaningless `Kd` with it.
//! - Without `Pr`, roughness is 1 - sqrt(Ns / 1000), the inverse of Blender's export.
//! - `d` or 1 - `Tr` is the opacity; 0 is taken for 1, because nobody ships what
//!   cannot be seen and MeshLab writes `Tr 1` for opaque things. `map_d` becomes
//!   the base colour's alpha.
//! - `map_Bump` is a height map by the book, but usually a normal map: it is taken
//!   for one when it looks like one, and passed over otherwise.
//! - `-o`, `-s` and `-clamp` are kept, other options and `Ka`, `Ks`, `illum` are not.

use std::collections::BTreeMap;

use ::image::{Rgba, RgbaImage};
use glam::{Vec2, Vec4};

use super::super::{
    assembly::Notes,
    path::Paths,
    shorten,
    text::{lines, number, text, tokens},
    textures::Textures,
};
use crate::{
    error::StageError,
    mesh::textured::{AlphaMode, Material, TextureUse, Wrap},
};

/// Materials by name; the first definition of a name counts.
#[derive(Default)]
pub struct Library {
    materials: BTreeMap<String, Definition>,
}

#[derive(Default)]
struct Definition {
    /// Of `Kd`, `Ke`, `Ns`, `d`, `Tr`, `Pr`, `Pm`; as many as are given.
    numbers: BTreeMap<String, Vec<f32>>,
    /// By keyword in lower case, `map_` without.
    maps: BTreeMap<String, Map>,
}

#[derive(Clone)]
struct Map {
    name: String,
    clamp: bool,
    offset: Vec2,
    scale: Vec2,
    strength: f32,
}

impl Library {
    /// Anything can be parsed: lines that say nothing known are skipped.
    pub fn parse(bytes: &[u8]) -> Library {
        let mut library = Library::default();
        let mut current: Option<(String, Definition)> = None;
        for line in lines(bytes) {
            let mut words = tokens(line);
            let Some(keyword) = words.next() else { continue };
            let keyword = text(keyword);
            if keyword == "newmtl" {
                library.add(current.take());
                current = Some((text(line.trim_ascii_start().get(6..).unwrap_or_default()), Definition::default()));
                continue;
            }
            let Some((_, definition)) = &mut current else { continue };
            match &*keyword {
                "Kd" | "Ke" | "Ns" | "d" | "Tr" | "Pr" | "Pm" => {
                    let numbers = words.map_while(number::<f32>).filter(|v| v.is_finite()).take(3).collect();
                    definition.numbers.insert(keyword, numbers);
                }
                _ => {
                    let lower = keyword.to_ascii_lowercase();
                    let kind = lower.strip_prefix("map_").unwrap_or(&lower);
                    let is_map = matches!(kind, "kd" | "ke" | "d" | "pr" | "pm" | "bump" | "norm");
                    if is_map && (kind != lower || matches!(kind, "bump" | "norm")) {
                        definition.maps.extend(Map::parse(&text(line)).map(|map| (kind.to_owned(), map)));
                    }
                }
            }
        }
        library.add(current);
        library
    }

    fn add(&mut self, definition: Option<(String, Definition)>) {
        if let Some((name, definition)) = definition {
            self.materials.entry(name).or_insert(definition);
        }
    }

    pub fn extend(&mut self, other: Library) {
        other.materials.into_iter().for_each(|definition| self.add(Some(definition)));
    }

    pub fn references(&self) -> Vec<String> {
        let mut paths = Paths::default();
        for map in self.materials.values().flat_map(|definition| definition.maps.values()) {
            paths.add_if_followed(&map.name);
        }
        paths.finish()
    }

    /// The material of that name, plain and with a note where there is none. An
    /// empty name is that of faces without a material.
    pub fn material(&self, name: &str, textures: &mut Textures, notes: &mut Notes) -> Result<Material, StageError> {
        let plain = Material { name: shorten(name.to_owned()), ..Material::default() };
        match self.materials.get(name) {
            Some(definition) => definition.material(plain, textures, notes),
            None => {
                if !name.is_empty() {
                    notes.add(format!("the material `{name}` is not defined"));
                }
                Ok(plain)
            }
        }
    }
}

impl Map {
    /// `line` is the keyword, options and a name that may have blanks in it.
    fn parse(line: &str) -> Option<Map> {
        let mut map = Map { name: String::new(), clamp: false, offset: Vec2::ZERO, scale: Vec2::ONE, strength: 1.0 };
        let mut rest = next_word(line)?.1;
        while rest.starts_with('-') {
            let (option, after) = next_word(rest)?;
            rest = after;
            match option {
                "-o" | "-s" | "-t" => {
                    let mut values = Vec::new();
                    while let Some((word, after)) = next_word(rest).filter(|_| values.len() < 3) {
                        let Some(value) = word.parse::<f32>().ok().filter(|v| v.is_finite()) else { break };
                        values.push(value);
                        rest = after;
                    }
                    let given = |i: usize, default: f32| values.get(i).copied().unwrap_or(default);
                    match option {
                        "-o" => map.offset = Vec2::new(given(0, 0.0), given(1, 0.0)),
                        "-s" => map.scale = Vec2::new(given(0, 1.0), given(1, 1.0)),
                        _ => {}
                    }
                }
                "-mm" => rest = next_word(next_word(rest)?.1)?.1,
                _ => {
                    let (value, after) = next_word(rest)?;
                    rest = after;
                    match option {
                        "-clamp" => map.clamp = value == "on",
                        "-bm" => map.strength = value.parse().ok().filter(|v: &f32| v.is_finite()).unwrap_or(1.0),
                        _ => {}
                    }
                }
            }
        }
        map.name = rest.trim().to_owned();
        (!map.name.is_empty()).then_some(map)
    }

    /// In glTF's coordinates, whose v runs downwards.
    fn texture_use(&self, texture: usize) -> TextureUse {
        TextureUse {
            wrap: [if self.clamp { Wrap::Clamp } else { Wrap::Repeat }; 2],
            offset: Vec2::new(self.offset.x, 1.0 - self.scale.y - self.offset.y),
            scale: self.scale,
            ..TextureUse::of(texture)
        }
    }
}

/// The first word and what follows it and its blanks.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

impl Definition {
    fn material(&self, plain: Material, textures: &mut Textures, notes: &mut Notes) -> Result<Material, StageError> {
        let given = |key: &str| self.numbers.get(key).and_then(|values| values.first()).copied();
        let color = |key: &str| {
            let values = self.numbers.get(key)?;
            let first = *values.first()?;
            Some([first, *values.get(1).unwrap_or(&first), *values.get(2).unwrap_or(&first)].map(|v| v.max(0.0)))
        };
        let opacity = given("d").or(given("Tr").map(|tr| 1.0 - tr)).filter(|d| *d > 0.0).map_or(1.0, |d| d.min(1.0));
        let [r, g, b] = color("Kd").unwrap_or([1.0; 3]).map(|v| v.min(1.0));
        let mut material = Material {
            base_color: Vec4::new(r, g, b, opacity),
            roughness: given("Pr")
                .or(given("Ns").map(|ns| 1.0 - (ns.max(0.0) / 1000.0).sqrt()))
                .unwrap_or(1.0)
                .clamp(0.0, 1.0),
            metallic: given("Pm").unwrap_or(0.0).clamp(0.0, 1.0),
            emissive: color("Ke").unwrap_or([0.0; 3]),
            alpha: if opacity < 1.0 { AlphaMode::Blend } else { AlphaMode::Opaque },
            ..plain
        };
        material.base_color_texture = self.texture("kd", textures, notes)?;
        if material.base_color_texture.is_some() {
            material.base_color = Vec4::new(1.0, 1.0, 1.0, opacity);
        }
        self.see_through(&mut material, textures, notes)?;
        material.emissive_texture = self.texture("ke", textures, notes)?;
        if material.emissive_texture.is_some() && material.emissive == [0.0; 3] {
            material.emissive = [1.0; 3];
        }
        self.shine(&mut material, textures, notes)?;
        self.bumps(&mut material, textures, notes)?;
        Ok(material)
    }

    fn texture(&self, map: &str, textures: &mut Textures, notes: &mut Notes) -> Result<Option<TextureUse>, StageError> {
        let Some(map) = self.maps.get(map) else { return Ok(None) };
        Ok(textures.of_path(&map.name, notes)?.map(|texture| map.texture_use(texture)))
    }

    /// `map_d` as alpha of the base colour.
    fn see_through(
        &self,
        material: &mut Material,
        textures: &mut Textures,
        notes: &mut Notes,
    ) -> Result<(), StageError> {
        let Some(opacity) = self.texture("d", textures, notes)? else { return Ok(()) };
        material.alpha = AlphaMode::Blend;
        let alpha = textures.image(opacity.texture).clone();
        let own_alpha = alpha.pixels().any(|p| p.0[3] != 255);
        match material.base_color_texture {
            Some(base) if base.texture == opacity.texture && own_alpha => {}
            Some(base) if TextureUse { texture: base.texture, ..opacity } != base => {
                material.alpha = AlphaMode::Opaque;
                notes.add(format!(
                    "`map_d` of the material `{}` lies otherwise than its `map_Kd` and was passed over",
                    material.name
                ));
            }
            base => {
                let color = base.map(|base| textures.image(base.texture).clone());
                let (w, h) = color.as_ref().map_or(alpha.dimensions(), |color| color.dimensions());
                let merged = RgbaImage::from_fn(w, h, |x, y| {
                    let [r, g, b] = color
                        .as_ref()
                        .map_or([255; 3], |color| color.get_pixel(x, y).0[..3].try_into().unwrap_or([255; 3]));
                    let Rgba(a) = *nearest(&alpha, x, y, w, h);
                    Rgba([r, g, b, if own_alpha { a[3] } else { a[0] }])
                });
                let index = textures.push(merged)?;
                material.base_color_texture = Some(TextureUse { texture: index, ..base.unwrap_or(opacity) });
            }
        }
        Ok(())
    }

    /// `map_Pr` and `map_Pm` as one texture: roughness in G, metallic in B.
    fn shine(&self, material: &mut Material, textures: &mut Textures, notes: &mut Notes) -> Result<(), StageError> {
        let maps = [self.texture("pr", textures, notes)?, self.texture("pm", textures, notes)?];
        let Some(placed) = maps[0].or(maps[1]) else { return Ok(()) };
        let images = maps.map(|map| map.map(|map| textures.image(map.texture).clone()));
        let (w, h) = textures.image(placed.texture).dimensions();
        let merged = RgbaImage::from_fn(w, h, |x, y| {
            let [rough, metal] =
                [0, 1].map(|i| images[i].as_ref().map_or(255, |image| nearest(image, x, y, w, h).0[0]));
            Rgba([255, rough, metal, 255])
        });
        material.metallic_roughness_texture = Some(TextureUse { texture: textures.push(merged)?, ..placed });
        // The maps replace the numbers, like `map_Kd` does `Kd`.
        material.roughness = if maps[0].is_some() { 1.0 } else { material.roughness };
        material.metallic = if maps[1].is_some() { 1.0 } else { material.metallic };
        Ok(())
    }

    fn bumps(&self, material: &mut Material, textures: &mut Textures, notes: &mut Notes) -> Result<(), StageError> {
        let kind = if self.maps.contains_key("norm") { "norm" } else { "bump" };
        let Some(texture) = self.texture(kind, textures, notes)? else { return Ok(()) };
        if kind == "bump" && !shows_normals(textures.image(texture.texture)) {
            notes.add(format!("the height map of the material `{}` was passed over", material.name));
            return Ok(());
        }
        material.normal_texture = Some(texture);
        material.normal_scale = self.maps[kind].strength;
        Ok(())
    }
}

/// The pixel of `image` at the place of pixel (x, y) of a picture of w by h.
fn nearest(image: &RgbaImage, x: u32, y: u32, w: u32, h: u32) -> &Rgba<u8> {
    let scale = |at: u32, from: u32, to: u32| (u64::from(at) * u64::from(to) / u64::from(from.max(1))) as u32;
    image.get_pixel(scale(x, w, image.width()), scale(y, h, image.height()))
}

/// Tangent-space normals are bluish in the mean: around (128, 128, 255).
fn shows_normals(image: &RgbaImage) -> bool {
    let mut sums = [0u64; 4];
    image.pixels().for_each(|p| (0..4).for_each(|k| sums[k] += u64::from(p.0[k])));
    let n = u64::from(image.width()) * u64::from(image.height());
    let [r, g, b, _] = sums.map(|sum| sum / n.max(1));
    r.abs_diff(128) < 24 && g.abs_diff(128) < 24 && b > 180
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::png_io,
        import::{Bundle, Limits, read},
    };

    fn png(color: [u8; 4]) -> Vec<u8> {
        png_io::encode_rgba(&RgbaImage::from_pixel(2, 2, Rgba(color))).unwrap()
    }

    fn imported(mtl: &str) -> crate::import::Imported {
        let obj = b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n".to_vec();
        let bundle = Bundle::gather("a.obj", obj, &Limits::default(), |path, _| {
            Ok(match path {
                "a.mtl" => Some(mtl.as_bytes().to_vec()),
                "a b.png" => Some(png([200, 100, 50, 255])),
                "grey.png" => Some(png([60, 60, 60, 255])),
                "normals.png" => Some(png([128, 127, 255, 255])),
                _ => None,
            })
        })
        .unwrap();
        read(&bundle, &Limits::default()).unwrap()
    }

    fn material(mtl: &str) -> Material {
        imported(mtl).textured.materials.remove(0)
    }

    #[test]
    fn numbers_become_factors() {
        let m = material(
            "newmtl other\nKd 1 0 0\nnewmtl m\r\nKd 0.5 0.25 2\r\nNs 250\nd 0.5\nKe 3 0 0\nnewmtl m\nKd 0 0 0\n",
        );
        assert_eq!(m.base_color, Vec4::new(0.5, 0.25, 1.0, 0.5));
        assert_eq!((m.roughness, m.metallic, m.emissive, m.alpha), (0.5, 0.0, [3.0, 0.0, 0.0], AlphaMode::Blend));
        let m = material("newmtl m\nTr 1\nPr 0.25\nPm 1\nNs 0\nKd 0.5\n");
        assert_eq!((m.base_color, m.roughness, m.metallic), (Vec4::new(0.5, 0.5, 0.5, 1.0), 0.25, 1.0));
        assert_eq!(material("newmtl m\nKd x\nNs nan\n"), Material { name: "m".to_owned(), ..Material::default() });
    }

    #[test]
    fn options_of_maps_are_kept_in_gltf_coordinates() {
        let m = material("newmtl m\nKd 0 0 0\nmap_Kd -s 2 3 1 -o 0.25 0.5 -clamp on -mm 0 1 -blendu on a b.png\n");
        let texture = m.base_color_texture.unwrap();
        assert_eq!((texture.scale, texture.wrap), (Vec2::new(2.0, 3.0), [Wrap::Clamp; 2]));
        // v of the file at 0.2 is at 0.2 * 3 + 0.5 = 1.1, seen from the top at -0.1.
        let v = (1.0 - 0.2) * texture.scale.y + texture.offset.y;
        assert!((v - (1.0 - 1.1)).abs() < 1e-6 && texture.offset.x == 0.25, "{v}");
        assert_eq!(m.base_color, Vec4::ONE);
    }

    #[test]
    fn single_channels_are_merged() {
        let imported = imported("newmtl m\nmap_Kd a b.png\nmap_d grey.png\nmap_Pr grey.png\nmap_Ke grey.png\n");
        let m = &imported.textured.materials[0];
        let pixel =
            |texture: Option<TextureUse>| imported.textured.textures[texture.unwrap().texture].get_pixel(0, 0).0;
        assert_eq!(pixel(m.base_color_texture), [200, 100, 50, 60]);
        assert_eq!(pixel(m.metallic_roughness_texture), [255, 60, 255, 255]);
        assert_eq!((m.metallic, m.roughness, m.emissive, m.alpha), (0.0, 1.0, [1.0; 3], AlphaMode::Blend));
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    }

    #[test]
    fn a_bump_map_is_a_normal_map_when_it_looks_like_one() {
        let m = material("newmtl m\nmap_Bump -bm 0.5 normals.png\n");
        assert!(m.normal_texture.is_some() && m.normal_scale == 0.5);
        assert!(material("newmtl m\nbump normals.png\n").normal_texture.is_some());
        let imported = imported("newmtl m\nmap_bump grey.png\nmap_Kd gone.png\n");
        assert_eq!(imported.textured.materials[0].normal_texture, None);
        assert_eq!(
            imported.notes,
            ["the texture `gone.png` is missing", "the height map of the material `m` was passed over"]
        );
    }

    #[test]
    fn a_picture_elsewhere_is_not_opened_and_the_mesh_is_read_without_it() {
        for path in [r"C:\Users\me\wood.png", "/etc/passwd", "../secret.png", "http://a.example/a.png"] {
            let mtl = format!("newmtl m\nKd 1 0 0\nmap_Kd {path}\n");
            assert_eq!(Library::parse(mtl.as_bytes()).references(), Vec::<String>::new());
            let imported = imported(&mtl);
            assert_eq!(imported.textured.materials[0].base_color_texture, None);
            assert_eq!(imported.textured.materials[0].base_color, Vec4::new(1.0, 0.0, 0.0, 1.0));
            let [note] = &imported.notes[..] else { panic!("{:?}", imported.notes) };
            assert!(note.starts_with(&format!("the texture is left out: the reference `{path}` ")), "{note}");
        }
    }
}
