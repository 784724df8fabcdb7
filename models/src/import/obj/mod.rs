//! Wavefront OBJ with its material files (mtl.rs).
//!
//! Format: Wavefront, "Advanced Visualizer Manual", appendix B1. Read are
//! vertices, with colours where they have six numbers, texture coordinates,
//! normals, polygons with indices from either end, and materials. All objects and
//! groups are one mesh. Lines, points, curves and surfaces are passed over.

mod mtl;

use std::collections::{BTreeMap, HashMap};

use glam::{Vec2, Vec3, Vec4};

use self::mtl::Library;
use super::{
    Bundle, Limits,
    assembly::{Assembly, Notes, Part},
    bundle::is_material_file,
    damaged, linear,
    path::{Paths, resolve_path},
    polygon::triangulate,
    sniff::without_mark,
    text::{lines, number, text, tokens},
    textures::Textures,
    too_large,
};
use crate::{error::StageError, mesh::textured::TexturedMesh};

pub(super) fn references(main: &[u8]) -> Vec<String> {
    let mut paths = Paths::default();
    libraries(main).iter().for_each(|name| paths.add_if_followed(name));
    paths.finish()
}

pub(super) fn material_references(mtl: &[u8]) -> Vec<String> {
    Library::parse(mtl).references()
}

/// The material files that an OBJ names, as it does.
fn libraries(main: &[u8]) -> Vec<String> {
    let lines = lines(without_mark(main)).filter(|line| line.trim_ascii_start().starts_with(b"mtllib"));
    lines.flat_map(library_names).collect()
}

pub(super) fn read(bundle: &Bundle, limits: &Limits) -> Result<(TexturedMesh, Vec<String>), StageError> {
    let mut notes = Notes::default();
    let mut assembly = Assembly::new(limits);
    let statements = Statements::parse(bundle.main(), limits, &mut notes)?;

    let mut library = Library::default();
    for name in libraries(bundle.main()) {
        let path = match resolve_path(&name) {
            Ok(path) => path,
            Err(refused) => {
                notes.add(format!("the material file is left out: {}", refused.message));
                continue;
            }
        };
        match bundle.file(&path) {
            Some(bytes) if is_material_file(&path) => library.extend(Library::parse(bytes)),
            Some(_) => notes.add(format!("the material file `{path}` is no .mtl")),
            None => notes.add(format!("the material file `{path}` is missing")),
        }
    }
    let mut textures = Textures::new(bundle, limits);
    let mut materials = Vec::new();
    for name in &statements.materials {
        materials.push(library.material(name, &mut textures, &mut notes)?);
    }
    assembly.push(statements.into_part(limits, &mut notes)?, &mut notes)?;
    let mut textured = assembly.finish(materials)?;
    textured.textures = textures.finish(&mut textured.materials);
    Ok((textured, notes.finish()))
}

/// Names in a `mtllib` line: several, of which each may have blanks in it.
fn library_names(line: &[u8]) -> Vec<String> {
    let line = text(line);
    let mut names = Vec::new();
    let mut name = String::new();
    for word in line.split_whitespace().skip(1) {
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(word);
        if is_material_file(word) {
            names.push(std::mem::take(&mut name));
        }
    }
    names.extend(Some(name).filter(|name| !name.is_empty()));
    names
}

/// Not given.
const NONE: u32 = u32::MAX;
const NO_COLOR: Vec3 = Vec3::NEG_ONE;

/// What an OBJ says, before indices mean anything: they may point ahead.
#[derive(Default)]
struct Statements {
    positions: Vec<Vec3>,
    /// As stored; empty, or one a position, `NO_COLOR` where not given.
    colors: Vec<Vec3>,
    uvs: Vec<Vec2>,
    normals: Vec<Vec3>,
    /// Different corners in order of appearance: position, UV and normal, `NONE`
    /// where not given. They become the vertices.
    corners: Vec<[u32; 3]>,
    /// Indices into `corners`, one polygon after the other.
    polygons: Vec<u32>,
    /// Number of corners, line, material.
    sizes: Vec<(u32, u32, u32)>,
    /// Names in order of first use.
    materials: Vec<String>,
}

impl Statements {
    fn parse(bytes: &[u8], limits: &Limits, notes: &mut Notes) -> Result<Statements, StageError> {
        let mut out = Statements::default();
        let mut known = HashMap::new();
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        let mut material = None;
        let mut joined = Vec::new();
        for (line_idx, mut line) in lines(without_mark(bytes)).enumerate() {
            // A backslash at the end joins a line with the next.
            if let Some(start) = line.trim_ascii_end().strip_suffix(b"\\") {
                joined.extend_from_slice(start);
                joined.push(b' ');
                continue;
            }
            let whole;
            if !joined.is_empty() {
                joined.extend_from_slice(line);
                whole = std::mem::take(&mut joined);
                line = &whole;
            }
            let mut words = tokens(line);
            let line_idx = line_idx as u32 + 1;
            match words.next() {
                Some(b"v") => out.vertex(&mut words, line_idx)?,
                Some(b"vt") => {
                    let [u, v] = numbers(&mut words, [None, Some(0.0)], line_idx)?;
                    out.uvs.push(Vec2::new(u, v));
                }
                Some(b"vn") => out.normals.push(Vec3::from(numbers(&mut words, [None; 3], line_idx)?)),
                Some(b"f" | b"fo") => {
                    let material = *material.get_or_insert_with(|| out.material("", &mut names));
                    out.face(words, line_idx, material, &mut known, notes)?;
                }
                Some(b"usemtl") => {
                    let name = text(line.trim_ascii_start().get(6..).unwrap_or_default());
                    material = Some(out.material(&name, &mut names));
                }
                Some(b"l" | b"p" | b"curv" | b"curv2" | b"surf") => {
                    notes.add("lines, points, curves and surfaces were passed over: only faces are read");
                }
                _ => {}
            }
            let n = out.positions.len().max(out.uvs.len()).max(out.normals.len()).max(out.corners.len());
            if n > limits.vertices {
                return Err(too_large("vertices", n, limits.vertices));
            }
        }
        Ok(out)
    }

    /// Index of the material of that name.
    fn material(&mut self, name: &str, names: &mut BTreeMap<String, u32>) -> u32 {
        *names.entry(name.to_owned()).or_insert_with(|| {
            self.materials.push(name.to_owned());
            self.materials.len() as u32 - 1
        })
    }

    fn vertex<'a>(
        &mut self,
        words: &mut (impl Iterator<Item = &'a [u8]> + Clone),
        line: u32,
    ) -> Result<(), StageError> {
        let n = words.clone().count();
        self.positions.push(Vec3::from(numbers(words, [None; 3], line)?));
        if n >= 6 {
            self.colors.resize(self.positions.len() - 1, NO_COLOR);
            self.colors.push(Vec3::from(numbers(words, [None; 3], line)?));
        }
        Ok(())
    }

    fn face<'a>(
        &mut self,
        words: impl Iterator<Item = &'a [u8]>,
        line: u32,
        material: u32,
        known: &mut HashMap<[u32; 3], u32>,
        notes: &mut Notes,
    ) -> Result<(), StageError> {
        let first = self.polygons.len();
        for word in words {
            let bad = |what: &str| damaged(format!("line {line} of the OBJ has {what} `{}`", text(word)));
            let mut parts = word.split(|&c| c == b'/');
            let mut index = |n_known: usize| match parts.next() {
                None | Some(b"") => Ok(NONE),
                Some(digits) => match number::<i64>(digits).ok_or_else(|| bad("the corner"))? {
                    0 => Err(bad("index 0 in")),
                    i if i < 0 => u32::try_from(n_known as i64 + i).map_err(|_| bad("too low an index in")),
                    i => u32::try_from(i - 1).ok().filter(|&i| i != NONE).ok_or_else(|| bad("too high an index in")),
                },
            };
            let corner = [index(self.positions.len())?, index(self.uvs.len())?, index(self.normals.len())?];
            if corner[0] == NONE {
                return Err(bad("no vertex in"));
            }
            let corner = *known.entry(corner).or_insert_with(|| {
                self.corners.push(corner);
                self.corners.len() as u32 - 1
            });
            self.polygons.push(corner);
        }
        let n = self.polygons.len() - first;
        if n < 3 {
            notes.add(format!("faces with fewer than 3 corners were passed over, the first in line {line}"));
            self.polygons.truncate(first);
            return Ok(());
        }
        self.sizes.push((n as u32, line, material));
        Ok(())
    }

    /// Vertices and triangles, now that all is known. UVs turn to glTF's, v downwards.
    fn into_part(mut self, limits: &Limits, notes: &mut Notes) -> Result<Part, StageError> {
        self.check_indices(notes)?;
        let mut part = Part::default();
        let with_uvs = self.corners.iter().any(|c| c[1] != NONE);
        let with_normals = self.corners.iter().any(|c| c[2] != NONE);
        // Some write 0..=255.
        let bytes = self.colors.iter().any(|c| c.max_element() > 1.5);
        for &[position, uv, normal] in &self.corners {
            part.mesh.positions.push(self.positions[position as usize]);
            if with_uvs {
                let uv = self.uvs.get(uv as usize);
                part.mesh.uvs.push(uv.map_or(Vec2::ZERO, |uv| Vec2::new(uv.x, 1.0 - uv.y)));
            }
            if with_normals {
                part.mesh.normals.push(self.normals.get(normal as usize).copied().unwrap_or_default());
            }
            if !self.colors.is_empty() {
                let color = match self.colors.get(position as usize) {
                    Some(&color) if color != NO_COLOR => color / if bytes { 255.0 } else { 1.0 },
                    _ => Vec3::ONE,
                };
                part.colors.push(Vec4::from((Vec3::from(color.to_array().map(linear)), 1.0)));
            }
        }
        let mut at = 0;
        for &(n_corners, _, material) in &self.sizes {
            let polygon = &self.polygons[at..at + n_corners as usize];
            at += polygon.len();
            let n = part.mesh.triangles.len() + polygon.len() - 2;
            if n > limits.triangles {
                return Err(too_large("triangles", n, limits.triangles));
            }
            let places: Vec<Vec3> = polygon.iter().map(|&c| part.mesh.positions[c as usize]).collect();
            part.mesh.triangles.extend(triangulate(&places).into_iter().map(|t| t.map(|i| polygon[i])));
            part.face_materials.resize(part.mesh.triangles.len(), material);
        }
        Ok(part)
    }

    fn check_indices(&mut self, notes: &mut Notes) -> Result<(), StageError> {
        let n = self.positions.len();
        if let Some(bad) = self.corners.iter().position(|c| c[0] as usize >= n) {
            let mut at = 0;
            let line = self.sizes.iter().find(|(n_corners, ..)| {
                let polygon = &self.polygons[at..at + *n_corners as usize];
                at += polygon.len();
                polygon.contains(&(bad as u32))
            });
            let (line, vertex) = (line.map_or(0, |(_, line, _)| *line), u64::from(self.corners[bad][0]) + 1);
            return Err(damaged(format!("line {line} of the OBJ names vertex {vertex} of {n}")));
        }
        for (k, n, what) in [(1, self.uvs.len(), "texture coordinates"), (2, self.normals.len(), "normals")] {
            for corner in self.corners.iter_mut().filter(|c| c[k] != NONE && c[k] as usize >= n) {
                corner[k] = NONE;
                notes.add(format!("corners name {what} that the OBJ does not have"));
            }
        }
        Ok(())
    }
}

/// The next numbers of a line; the default stands in where the line ends early.
fn numbers<'a, const N: usize>(
    words: &mut impl Iterator<Item = &'a [u8]>,
    default: [Option<f32>; N],
    line: u32,
) -> Result<[f32; N], StageError> {
    let mut out = [0.0; N];
    for (value, default) in out.iter_mut().zip(default) {
        *value = match (words.next(), default) {
            (Some(word), _) => {
                let bad = || damaged(format!("line {line} of the OBJ has `{}` for a number", text(word)));
                number(word).ok_or_else(bad)?
            }
            (None, Some(default)) => default,
            (None, None) => return Err(damaged(format!("line {line} of the OBJ has fewer than {N} numbers"))),
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StageErrorKind;

    fn read(text: &str) -> Result<(TexturedMesh, Vec<String>), StageError> {
        super::read(&Bundle::single("", text.as_bytes().to_vec()), &Limits::default())
    }

    const SQUARE: &str = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n";

    #[test]
    fn indices_count_from_either_end_and_may_point_ahead() {
        let (out, _) = read(&format!("{SQUARE}f -4 -3 -1\nf 2 3 5\nv 9 9 9\n")).unwrap();
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [1, 3, 4]]);
        assert_eq!(out.mesh.positions[4], Vec3::splat(9.0));
    }

    #[test]
    fn corners_with_other_uvs_or_normals_are_other_vertices() {
        let more = "vt 0 0\nvt 0.25\nvn 0 0 2\n";
        let (out, notes) = read(&format!("{SQUARE}{more}f 1/1/1 2/2/1 3/1/1\nf 1/1/1 3/2 4//1\n")).unwrap();
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [0, 3, 4]]);
        assert_eq!(out.mesh.uvs[..2], [Vec2::new(0.0, 1.0), Vec2::new(0.25, 1.0)]);
        assert_eq!(out.mesh.normals, [Vec3::Z; 5], "the missing one is that of its face");
        assert_eq!(notes, ["normals without a direction were made from the faces"]);
    }

    #[test]
    fn continued_lines_blanks_line_ends_and_comments_are_read() {
        let text = "\u{feff}# x\r\n  v 0 0 0\r\nv 1 \\\r\n 0 0\r\n\tv 0 1 0 \r\nf 1 \\\n2 \\\n3\r\n";
        let (out, _) = read(text).unwrap();
        assert_eq!((out.mesh.positions.len(), out.mesh.triangles.len()), (3, 1));
    }

    #[test]
    fn colours_of_vertices_are_srgb_in_shares_of_1_or_255() {
        let text = |color: &str| format!("v 0 0 0 {color}\nv 1 0 0 {color}\nv 0 1 0\nf 1 2 3\n");
        for color in ["0.5 0 1", "127.5 0 255"] {
            let (out, _) = read(&text(color)).unwrap();
            assert!((out.colors[0] - Vec4::new(0.214, 0.0, 1.0, 1.0)).length() < 1e-3, "{}", out.colors[0]);
            assert_eq!(out.colors[2], Vec4::ONE);
        }
    }

    #[test]
    fn faces_keep_their_materials() {
        let (out, notes) =
            read(&format!("{SQUARE}f 1 2 3\nusemtl a b\nf 1 2 3 4\nusemtl c\nf 2 3 4\nusemtl a b\nf 1 2 3")).unwrap();
        assert_eq!(out.face_materials, [0, 1, 1, 2, 1]);
        assert_eq!(out.materials.iter().map(|m| &*m.name).collect::<Vec<_>>(), ["", "a b", "c"]);
        assert_eq!(notes, ["the material `a b` is not defined", "the material `c` is not defined"]);
    }

    #[test]
    fn several_libraries_with_blanks_in_their_names() {
        let paths = references(b"mtllib a.mtl my file.mtl ./a.mtl\nmtllib c d\n");
        assert_eq!(paths, ["a.mtl", "my file.mtl", "c d"]);
        assert!(references(b"mtllib ../a.mtl").is_empty(), "left out, and told when the file is read");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = |text: String| {
            let error = read(&text).unwrap_err();
            assert_eq!(error.kind, StageErrorKind::InvalidInput);
            error.message
        };
        assert_eq!(error(format!("{SQUARE}f 1 2 9\n")), "line 5 of the OBJ names vertex 9 of 4");
        assert_eq!(error(format!("{SQUARE}f 1 2 -9\n")), "line 5 of the OBJ has too low an index in `-9`");
        assert_eq!(error(format!("{SQUARE}f 1 2 0\n")), "line 5 of the OBJ has index 0 in `0`");
        assert_eq!(error(format!("{SQUARE}f 1 2 x\n")), "line 5 of the OBJ has the corner `x`");
        assert_eq!(error(format!("{SQUARE}f 1 2 /1\n")), "line 5 of the OBJ has no vertex in `/1`");
        assert_eq!(error(format!("{SQUARE}v 1 2\n")), "line 5 of the OBJ has fewer than 3 numbers");
        assert_eq!(error(format!("{SQUARE}v 1 2 y\n")), "line 5 of the OBJ has `y` for a number");
        assert_eq!(error(format!("{SQUARE}f 1 2\nl 1 2\n")), "the mesh file has no triangles");
        assert_eq!(
            error(format!("{SQUARE}f 1 2 4294967296\n")),
            "line 5 of the OBJ has too high an index in `4294967296`"
        );
    }
}
