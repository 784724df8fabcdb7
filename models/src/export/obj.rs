//! Wavefront OBJ and MTL as text.
//!
//! Each vertex has a texture coordinate and a normal of its own; positions that
//! are equal bit for bit are written once, so that a surface that is closed stays
//! closed in programs that go by position numbers. Numbers are the shortest that
//! read back as the same f32. Texture space is OBJ's: v counts from the bottom.

use std::{collections::HashMap, fmt::Write};

use glam::{Vec2, Vec3};

use crate::{
    error::{StageError, StageErrorKind},
    mesh::{Maps, Mesh},
};

/// One object. `material` is the stem of the MTL's file and the name in it; without
/// one only positions and triangles are written.
pub fn write(mesh: &Mesh, object: &str, material: Option<&str>) -> String {
    let mut text = String::with_capacity(mesh.positions.len() * 90 + mesh.triangles.len() * 50);
    let mut line = |args: std::fmt::Arguments| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{args}");
    };
    if let Some(material) = material {
        line(format_args!("mtllib {material}.mtl"));
    }
    line(format_args!("o {object}"));
    let mut numbers: HashMap<[u32; 3], usize> = HashMap::new();
    let position_of: Vec<usize> = mesh
        .positions
        .iter()
        .map(|p| {
            let next = numbers.len() + 1;
            *numbers.entry(p.to_array().map(f32::to_bits)).or_insert_with(|| {
                line(format_args!("v {} {} {}", p.x, p.y, p.z));
                next
            })
        })
        .collect();
    let Some(material) = material else {
        for triangle in &mesh.triangles {
            let [a, b, c] = triangle.map(|v| position_of[v as usize]);
            line(format_args!("f {a} {b} {c}"));
        }
        return text;
    };
    for uv in &mesh.uvs {
        line(format_args!("vt {} {}", uv.x, 1.0 - uv.y));
    }
    for n in &mesh.normals {
        line(format_args!("vn {} {} {}", n.x, n.y, n.z));
    }
    line(format_args!("usemtl {material}"));
    for triangle in &mesh.triangles {
        let [a, b, c] = triangle.map(|v| (position_of[v as usize], v + 1));
        line(format_args!("f {0}/{1}/{1} {2}/{3}/{3} {4}/{5}/{5}", a.0, a.1, b.0, b.1, c.0, c.1));
    }
    text
}

/// File names of the textures that a material refers to.
#[derive(Debug, Default)]
pub struct MaterialTextures<'a> {
    pub base_color: Option<&'a str>,
    pub normal: Option<&'a str>,
    pub roughness: Option<&'a str>,
    pub metallic: Option<&'a str>,
    pub emissive: Option<&'a str>,
    /// Is the base colour's alpha to be used?
    pub transparent: bool,
}

/// The MTL, with the widespread extension for physically based materials (`Pr`,
/// `Pm`, `norm`). Readers know normals as `norm` or as `map_Bump`.
pub fn material(name: &str, maps: &Maps, textures: &MaterialTextures) -> String {
    let mut text = format!("newmtl {name}\nKd 1 1 1\nKs 0 0 0\nillum 1\nPr {}\nPm {}\n", maps.roughness, maps.metallic);
    let mut line = |key: &str, file: Option<&str>| {
        if let Some(file) = file {
            text.push_str(&format!("{key} {file}\n"));
        }
    };
    line("map_Kd", textures.base_color);
    line("map_d", textures.base_color.filter(|_| textures.transparent));
    line("norm", textures.normal);
    line("map_Bump -bm 1", textures.normal);
    line("map_Pr", textures.roughness);
    line("map_Pm", textures.metallic);
    line("Ke", textures.emissive.map(|_| "1 1 1"));
    line("map_Ke", textures.emissive);
    text
}

/// Reads an OBJ that `write` made.
pub fn read(text: &str) -> Result<Mesh, StageError> {
    let (mut positions, mut mesh) = (Vec::new(), Mesh::default());
    let mut corners: Vec<[(usize, Option<usize>); 3]> = Vec::new();
    for line in text.lines() {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "v" => positions.push(Vec3::from_array(numbers(rest)?)),
            "vt" => {
                let [u, v] = numbers(rest)?;
                mesh.uvs.push(Vec2::new(u, 1.0 - v));
            }
            "vn" => mesh.normals.push(Vec3::from_array(numbers(rest)?)),
            "f" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let [a, b, c] = words[..] else { return Err(damaged(line)) };
                corners.push([corner(a)?, corner(b)?, corner(c)?]);
            }
            "mtllib" | "usemtl" | "o" => {}
            _ => return Err(damaged(line)),
        }
    }
    let textured = !mesh.uvs.is_empty();
    let n = if textured { mesh.uvs.len() } else { positions.len() };
    mesh.positions = if textured { vec![Vec3::ZERO; n] } else { positions.clone() };
    if textured && mesh.normals.len() != n {
        return Err(damaged(&format!("{n} texture coordinates, {} normals", mesh.normals.len())));
    }
    for face in corners {
        let mut triangle = [0; 3];
        for (index, (position, vertex)) in triangle.iter_mut().zip(face) {
            let vertex = if textured { vertex } else { Some(position) };
            let at = positions.get(position.wrapping_sub(1)).copied();
            let (Some(at), Some(vertex)) = (at, vertex.filter(|vertex| (1..=n).contains(vertex))) else {
                return Err(damaged(&format!("a face names vertex {position} of {}", positions.len())));
            };
            mesh.positions[vertex - 1] = at;
            *index = (vertex - 1) as u32;
        }
        mesh.triangles.push(triangle);
    }
    Ok(mesh)
}

/// Number of the position, and that of texture coordinate and normal, which agree.
fn corner(word: &str) -> Result<(usize, Option<usize>), StageError> {
    let mut parts = word.split('/').map(str::parse::<usize>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(position)), None, ..) => Ok((position, None)),
        (Some(Ok(position)), Some(Ok(uv)), Some(Ok(normal)), None) if uv == normal => Ok((position, Some(uv))),
        _ => Err(damaged(word)),
    }
}

fn numbers<const N: usize>(text: &str) -> Result<[f32; N], StageError> {
    let mut words = text.split(' ');
    let mut numbers = [0.0; N];
    for number in &mut numbers {
        let word = words.next().and_then(|word| word.parse::<f32>().ok()).filter(|value| value.is_finite());
        *number = word.ok_or_else(|| damaged(text))?;
    }
    Ok(numbers)
}

fn damaged(what: &str) -> StageError {
    let what: String = what.chars().take(100).collect();
    StageError::new(
        StageErrorKind::Unsupported,
        format!("the OBJ is not one that Meshkiln wrote: `{what}`"),
        "give a file that Meshkiln wrote",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{shapes, topology::topology};

    #[test]
    fn the_mesh_comes_back_and_is_closed_by_position_numbers() {
        let mesh = shapes::torus(12, 0.3);
        let text = write(&mesh, "ring", Some("ring"));
        let back = read(&text).unwrap();
        assert_eq!(
            (&back.positions, &back.normals, &back.triangles),
            (&mesh.positions, &mesh.normals, &mesh.triangles)
        );
        assert!(back.uvs.iter().zip(&mesh.uvs).all(|(a, b)| (*a - *b).length() < 1e-6));

        // Position numbers alone, as another reader sees them.
        let shape = write(&mesh, "ring", None);
        let shape = read(&shape).unwrap();
        assert!(shape.positions.len() < mesh.positions.len(), "doubled vertices are written once");
        assert_eq!(topology(&shape.positions, &shape.triangles), topology(&mesh.positions, &mesh.triangles));
    }

    #[test]
    fn damaged_text_gets_typed_errors() {
        let text = write(&shapes::cube(), "cube", Some("cube"));
        for length in (0..text.len()).step_by(3) {
            let _ = read(&text[..length]);
        }
        for broken in ["v 1 2", "v 1 2 x", "f 1 2", "f 1/1/1 2/2/2 3/3/3", "f 0 0 0", "v 1 1 nan", "call x.obj"] {
            assert_eq!(read(broken).unwrap_err().kind, StageErrorKind::Unsupported, "{broken}");
        }
    }

    #[test]
    fn the_material_names_its_textures() {
        let maps = Maps { roughness: 0.5, metallic: 0.25, ..Maps::default() };
        let textures = MaterialTextures { base_color: Some("a.png"), normal: Some("n.png"), ..Default::default() };
        let text = material("lamp", &maps, &textures);
        for line in ["newmtl lamp", "Pr 0.5", "Pm 0.25", "map_Kd a.png", "norm n.png", "map_Bump -bm 1 n.png"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("map_d") && !text.contains("map_Ke"));
    }
}
