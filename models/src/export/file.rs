//! The finished file: in a scene and what the target wants, out the bytes, and
//! back again.
//!
//! What a file of several parts holds (`NAME` is the asset's name, made safe for
//! file systems): `NAME.obj` with `NAME.mtl` or `NAME.glb`, `NAME_LOD1.obj` and so
//! on, a file for each collider piece, textures `NAME_basecolor.png` and so on, and
//! the record, `NAME.meshkiln.json`.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::{
    archive::{self, Part},
    content::{Content, Scene, front},
    format::{Format, TextureFormat},
    glb, obj, ply,
    preset::{self, Place, Preset},
    stl,
    texture::{self, MapKind},
};
use crate::{
    error::{StageError, StageErrorKind},
    image::png_io,
    mesh::{Maps, Mesh},
};

/// How a file is written.
#[derive(Clone, Copy)]
pub struct Options {
    pub preset: &'static Preset,
    pub format: Format,
    pub texture: TextureFormat,
    /// GLB only: quantise and compress meshes.
    pub compress: bool,
    /// GLB only: in a ZIP, with pictures of the maps that it has no place for.
    pub extra_maps: bool,
}

impl Options {
    /// What the preset chooses.
    pub fn of(preset: &'static Preset) -> Options {
        Options { preset, format: preset.format, texture: preset.texture, compress: preset.compress, extra_maps: false }
    }

    /// Extension of the finished file, with the dot: `.zip` where it takes several files.
    pub fn extension(&self) -> &'static str {
        match self.format {
            Format::Glb if self.has_files_beside() => ".zip",
            Format::Glb => ".glb",
            Format::Obj => ".zip",
            Format::Ply => ".ply",
            Format::Stl => ".stl",
        }
    }

    /// Does a GLB not hold it all?
    fn has_files_beside(&self) -> bool {
        self.texture == TextureFormat::Dds || self.extra_maps
    }
}

/// Equal arguments give equal bytes. The record gets `export`: what was chosen, and
/// `notes`, sentences on what had to be changed.
///
/// Errors: `TooLarge` beyond the target's triangles or vertices, or the format's
/// size; `InvalidInput` without a map that the target requires.
pub fn write(scene: &Scene, options: &Options) -> Result<Vec<u8>, StageError> {
    check_limits(scene, options.preset)?;
    let mut notes = Vec::new();
    let maps = match options.format.holds_textures() {
        true => fitted(scene.maps, options, &mut notes),
        false => Cow::Borrowed(scene.maps),
    };
    let has_more = !scene.lods.is_empty() || !scene.collider.is_empty();
    if has_more && !options.format.holds_textures() {
        notes.push(format!("{} holds one mesh: levels of detail and colliders are left out", options.format.id()));
    }
    if options.format.holds_textures() && options.preset.lods == Place::LeftOut && !scene.lods.is_empty() {
        notes.push(format!("target {} makes its own levels of detail: they are left out", options.preset.id));
    }
    if !scene.maps.extra.is_empty() && options.extension() != ".zip" {
        let names: Vec<&str> = scene.maps.extra.keys().map(String::as_str).collect();
        notes.push(format!("left out: {}; export.extra-maps=true puts such maps beside a GLB", names.join(", ")));
    }
    let mut record = scene.record()?;
    record.insert("export".to_owned(), export_record(options, &notes));
    let record = Json::Object(record);
    let scene = Scene { maps: &maps, meshkiln: &record, ..*scene };
    match (options.format, options.texture) {
        (Format::Glb, _) if options.has_files_beside() => archive::write(&glb_and_pictures(&scene, options)?),
        (Format::Glb, texture) => glb::write_scene(&scene, &glb_style(options, texture)),
        (Format::Obj, _) => archive::write(&obj_parts(&scene, options)?),
        (Format::Ply, _) => ply::write(&scene, &record),
        (Format::Stl, _) => stl::write(&scene),
    }
}

/// Reads any file that `write` made, trusting none of its bytes. See the formats'
/// own `read` for what they lack.
pub fn read(bytes: &[u8]) -> Result<Content, StageError> {
    if archive::looks_like_one(bytes) {
        read_archive(&archive::read(bytes)?)
    } else if ply::looks_like_one(bytes) {
        ply::read(bytes)
    } else if stl::looks_like_one(bytes) {
        stl::read(bytes)
    } else {
        glb::read(bytes)
    }
}

/// The same file with the record's `report` set, replacing an earlier one. An STL
/// has no place for it and stays as it is.
pub fn with_report(bytes: &[u8], report: &Json) -> Result<Vec<u8>, StageError> {
    if archive::looks_like_one(bytes) {
        archive::with_report(bytes, report)
    } else if ply::looks_like_one(bytes) {
        ply::with_report(bytes, report)
    } else if stl::looks_like_one(bytes) {
        Ok(bytes.to_vec())
    } else {
        glb::with_report(bytes, report)
    }
}

fn check_limits(scene: &Scene, preset: &Preset) -> Result<(), StageError> {
    for (what, found, limit) in [
        ("triangles", scene.mesh.triangles.len(), preset.max_triangles),
        ("vertices", scene.mesh.positions.len(), preset.max_vertices),
    ] {
        if limit > 0 && found > limit {
            return Err(StageError::new(
                StageErrorKind::TooLarge,
                format!("the mesh has {found} {what}, target {} takes {limit}", preset.id),
                format!("run with --set simplify.triangles={}", triangles_for(scene.mesh, preset)),
            ));
        }
    }
    for map in preset.required {
        if map.of(scene.maps).is_none() {
            return Err(StageError::invalid(
                format!("the asset has no {} map, target {} needs one", map.name(), preset.id),
                "choose a recipe that bakes it, or run with --set export.target=generic",
            ));
        }
    }
    Ok(())
}

/// A budget of triangles that keeps both limits.
fn triangles_for(mesh: &Mesh, preset: &Preset) -> usize {
    let n = mesh.triangles.len();
    // Vertices shrink along with triangles, seams a little less.
    let by_vertices = match preset.max_vertices {
        0 => n,
        limit => n * limit / mesh.positions.len().max(1) * 9 / 10,
    };
    let by_triangles = if preset.max_triangles == 0 { n } else { preset.max_triangles };
    by_vertices.min(by_triangles).max(4)
}

/// The maps in sizes that the target takes.
fn fitted<'a>(maps: &'a Maps, options: &Options, notes: &mut Vec<String>) -> Cow<'a, Maps> {
    let multiple_of_4 = matches!(options.texture, TextureFormat::Ktx2 | TextureFormat::Dds);
    let preset = options.preset;
    let mut size = |map: MapKind, from: (u32, u32)| {
        let to = texture::allowed_size(from, preset.max_texture, preset.power_of_two, multiple_of_4);
        if to != from {
            let (name, [w, h]) = (map.name(), [to.0, to.1]);
            notes.push(format!("{name} texture resized from {}x{} to {w}x{h}", from.0, from.1));
        }
        (to != from).then_some(to)
    };
    let mut out = Cow::Borrowed(maps);
    if let Some((w, h)) = size(MapKind::BaseColor, maps.base_color.dimensions()) {
        out.to_mut().base_color = texture::resized(MapKind::BaseColor, &maps.base_color, w, h);
    }
    for map in [MapKind::Normal, MapKind::Orm, MapKind::Emissive] {
        let Some(texels) = map.of(maps) else { continue };
        let Some((w, h)) = size(map, texels.dimensions()) else { continue };
        let resized = Some(texture::without_alpha(&texture::resized(map, &texels, w, h)));
        match map {
            MapKind::Normal => out.to_mut().normal = resized,
            MapKind::Orm => out.to_mut().orm = resized,
            _ => out.to_mut().emissive = resized,
        }
    }
    out
}

fn export_record(options: &Options, notes: &[String]) -> Json {
    let mut record = Map::new();
    record.insert("target".to_owned(), json!(options.preset.id));
    record.insert("format".to_owned(), json!(options.format.id()));
    if options.format.holds_textures() {
        record.insert("texture".to_owned(), json!(options.texture.id()));
    }
    if options.format == Format::Glb {
        record.insert("compress".to_owned(), json!(options.compress));
    }
    if !notes.is_empty() {
        record.insert("notes".to_owned(), json!(notes));
    }
    Json::Object(record)
}

fn glb_style(options: &Options, texture: TextureFormat) -> glb::Style {
    glb::Style { preset: options.preset, texture, compress: options.compress }
}

/// The GLB shows right by itself; DDS and the maps it has no place for lie beside it.
fn glb_and_pictures(scene: &Scene, options: &Options) -> Result<Vec<Part>, StageError> {
    let stem = file_stem(scene.name);
    let dds = options.texture == TextureFormat::Dds;
    let inside = if dds { TextureFormat::Png } else { options.texture };
    let glb = glb::write_scene(scene, &glb_style(options, inside))?;
    let mut parts = vec![Part { name: format!("{stem}.glb"), bytes: glb }];
    if dds {
        parts.extend(loose_textures(scene.maps, &stem, options)?.into_iter().map(|(_, part)| part));
    }
    parts.extend(extra_maps(scene.maps, &stem)?);
    parts.push(record_part(scene, &stem));
    Ok(parts)
}

fn obj_parts(scene: &Scene, options: &Options) -> Result<Vec<Part>, StageError> {
    scene.check()?;
    let (stem, preset) = (file_stem(scene.name), options.preset);
    let part = |name: String, text: String| Part { name, bytes: text.into_bytes() };
    let mut parts = vec![part(format!("{stem}.obj"), obj::write(scene.mesh, &stem, Some(&stem)))];
    if preset.lods != Place::LeftOut {
        for (i, lod) in scene.lods.iter().enumerate() {
            let name = preset.names.lod(&stem, i + 1);
            parts.push(part(format!("{name}.obj"), obj::write(lod, &name, Some(&stem))));
        }
    }
    if preset.collider != Place::LeftOut {
        for (i, piece) in scene.collider.iter().enumerate() {
            let name = preset.names.collider(&stem, i + 1);
            parts.push(part(format!("{name}.obj"), obj::write(piece, &name, None)));
        }
    }
    let textures = loose_textures(scene.maps, &stem, options)?;
    let file = |map: MapKind| textures.iter().find(|(kind, _)| *kind == map).map(|(_, part)| part.name.as_str());
    let material = obj::MaterialTextures {
        base_color: file(MapKind::BaseColor),
        normal: file(MapKind::Normal),
        roughness: file(MapKind::Roughness),
        metallic: file(MapKind::Metallic),
        emissive: file(MapKind::Emissive),
        transparent: !texture::is_opaque(&scene.maps.base_color),
    };
    parts.push(part(format!("{stem}.mtl"), obj::material(&stem, scene.maps, &material)));
    parts.extend(textures.into_iter().map(|(_, part)| part));
    parts.extend(extra_maps(scene.maps, &stem)?);
    parts.push(record_part(scene, &stem));
    Ok(parts)
}

/// Maps that no material has a place for. Data, hence PNG whatever the textures are.
fn extra_maps(maps: &Maps, stem: &str) -> Result<Vec<Part>, StageError> {
    let part = |(id, texels): (&String, &image::RgbImage)| {
        let bytes = png_io::encode_rgba(&texture::opaque(texels))?;
        Ok(Part { name: format!("{stem}_{id}.png"), bytes })
    };
    maps.extra.iter().map(part).collect()
}

/// Each texture that the target wants and the material has, as a file.
fn loose_textures(maps: &Maps, stem: &str, options: &Options) -> Result<Vec<(MapKind, Part)>, StageError> {
    let preset = options.preset;
    let mut parts = Vec::new();
    for loose in preset.loose {
        let Some(mut texels) = loose.map.of(maps) else { continue };
        if loose.map == MapKind::Normal && preset.green_down {
            texels = texture::with_green_turned(texels);
        }
        let (bytes, format) = if options.texture == TextureFormat::Dds {
            let block = if texture::is_opaque(&texels) { loose.block } else { loose.block_with_alpha };
            let srgb = preset.dds_srgb && loose.map.is_color();
            (texture::encode_dds(loose.map, &texels, block, srgb)?, TextureFormat::Dds)
        } else {
            let encoded = texture::encode(loose.map, &texels, options.texture)?;
            (encoded.bytes, encoded.format)
        };
        parts.push((loose.map, Part { name: format!("{stem}{}.{}", loose.suffix, format.extension()), bytes }));
    }
    Ok(parts)
}

fn record_part(scene: &Scene, stem: &str) -> Part {
    Part { name: format!("{stem}{}", archive::RECORD), bytes: scene.meshkiln.to_string().into_bytes() }
}

fn read_archive(parts: &[Part]) -> Result<Content, StageError> {
    let unsupported = |what: &str| {
        let message = format!("the ZIP is not one that Meshkiln wrote: {what}");
        StageError::new(StageErrorKind::Unsupported, message, "give a file that Meshkiln wrote")
    };
    let record = parts.iter().find(|part| part.name.ends_with(archive::RECORD));
    let record = record.ok_or_else(|| unsupported("it has no record"))?;
    let stem = record.name.trim_end_matches(archive::RECORD);
    let meshkiln: Json = serde_json::from_slice(&record.bytes).map_err(|_| unsupported("its record is no JSON"))?;
    let find = |name: &str| parts.iter().find(|part| part.name == name);
    if let Some(glb) = find(&format!("{stem}.glb")) {
        return Ok(Content { meshkiln, ..glb::read(&glb.bytes)? });
    }
    let preset = meshkiln["export"]["target"].as_str().and_then(preset::find);
    let preset = preset.ok_or_else(|| unsupported("its record names no target"))?;
    let text = |part: &Part| obj::read(&String::from_utf8_lossy(&part.bytes));
    let object = find(&format!("{stem}.obj")).ok_or_else(|| unsupported("it has no OBJ"))?;
    let numbered = |name: &dyn Fn(usize) -> String| -> Result<Vec<Mesh>, StageError> {
        (1..).map_while(|n| find(&format!("{}.obj", name(n)))).map(text).collect()
    };
    let texture = |map: MapKind| -> Result<Option<image::RgbaImage>, StageError> {
        let loose = preset.loose.iter().find(|loose| loose.map == map);
        let begin = loose.map(|loose| format!("{stem}{}.", loose.suffix));
        let part = begin.and_then(|begin| parts.iter().find(|part| part.name.starts_with(&begin)));
        part.map(|part| texture::decode(&part.bytes)).transpose()
    };
    let normal = texture(MapKind::Normal)?;
    let normal = if preset.green_down { normal.map(texture::with_green_turned) } else { normal };
    let base_color = texture(MapKind::BaseColor)?.ok_or_else(|| unsupported("it has no base colour"))?;
    Ok(Content {
        mesh: Mesh { front: front(&meshkiln)?, ..text(object)? },
        lods: numbered(&|n| preset.names.lod(stem, n))?,
        collider: numbered(&|n| preset.names.collider(stem, n))?,
        maps: Maps {
            base_color,
            normal: normal.as_ref().map(texture::without_alpha),
            emissive: texture(MapKind::Emissive)?.as_ref().map(texture::without_alpha),
            ..orm_of(&texture)?
        },
        name: meshkiln["name"].as_str().unwrap_or(stem).to_owned(),
        meshkiln,
    })
}

/// Occlusion, roughness and metallic from pictures of their own; the factors are in
/// them. Without such pictures: rough and not metallic.
fn orm_of(texture: &dyn Fn(MapKind) -> Result<Option<image::RgbaImage>, StageError>) -> Result<Maps, StageError> {
    let parts = [texture(MapKind::Occlusion)?, texture(MapKind::Roughness)?, texture(MapKind::Metallic)?];
    let [Some(o), Some(r), Some(m)] = parts else { return Ok(Maps { roughness: 1.0, ..Maps::default() }) };
    let (w, h) = o.dimensions();
    if r.dimensions() != (w, h) || m.dimensions() != (w, h) {
        return Err(StageError::invalid(
            format!("roughness texture is {:?}, occlusion texture {:?}", r.dimensions(), (w, h)),
            "fire the source image again",
        ));
    }
    let orm = image::RgbImage::from_fn(w, h, |x, y| {
        image::Rgb([o.get_pixel(x, y).0[0], r.get_pixel(x, y).0[0], m.get_pixel(x, y).0[0]])
    });
    Ok(Maps { orm: Some(orm), roughness: 1.0, metallic: 1.0, ..Maps::default() })
}

/// `name` as a file's name without extension: letters and digits of all languages,
/// `-`, `_` and `.` stay, all else becomes `_`, because MTL files separate by
/// spaces. At most 100 bytes, never empty.
pub fn file_stem(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let mut stem = String::new();
    for c in name.chars().map(safe) {
        if stem.len() + c.len_utf8() > 100 {
            break;
        }
        stem.push(c);
    }
    let stem = stem.trim_matches('.');
    if stem.is_empty() { "asset".to_owned() } else { stem.to_owned() }
}
