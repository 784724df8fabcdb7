//! PLY, ASCII and binary of both byte orders.
//!
//! Format: Greg Turk, "The PLY Polygon File Format", 1994. Read are vertices
//! with normals, colours and texture coordinates, polygons, triangle strips,
//! texture coordinates of corners, and the `TextureFile` comment of MeshLab.
//! Other elements and properties are skipped.

mod body;
mod header;

use std::collections::HashMap;

use glam::{Vec2, Vec3, Vec4};

use self::{
    body::{Body, Value},
    header::{Element, Header, Scalar},
};
use super::{
    Bundle, Limits,
    assembly::{Assembly, Notes, Part},
    damaged, linear,
    path::Paths,
    polygon::triangulate,
    shorten,
    textures::Textures,
};
use crate::{
    error::{StageError, StageErrorKind},
    mesh::textured::{Material, TextureUse, TexturedMesh},
};

pub(super) fn references(main: &[u8]) -> Result<Vec<String>, StageError> {
    let header = Header::parse(main)?;
    let mut paths = Paths::default();
    for name in &header.textures {
        paths.add_if_followed(name);
    }
    Ok(paths.finish())
}

pub(super) fn read(bundle: &Bundle, limits: &Limits) -> Result<(TexturedMesh, Vec<String>), StageError> {
    let header = Header::parse(bundle.main())?;
    let mut notes = Notes::default();
    let mut assembly = Assembly::new(limits);
    let mut body = Body::new(bundle.main(), &header);
    let mut vertices = Part::default();
    let mut faces = Faces::default();
    let mut n_points = 0;
    for element in &header.elements {
        match &*element.name {
            "vertex" => {
                n_points = element.count;
                read_vertices(&mut body, element, &mut vertices, &assembly)?;
            }
            "face" => read_faces(&mut body, element, &mut faces, &assembly, &mut notes)?,
            "tristrips" => read_strips(&mut body, element, &mut faces, &assembly)?,
            _ => body.each(element, |_| Ok(()))?,
        }
    }
    if faces.polygons.is_empty() && n_points > 0 {
        return Err(StageError::new(
            StageErrorKind::Unsupported,
            format!("the PLY is a cloud of {n_points} points without faces"),
            "reconstruct a surface from the points, for example in MeshLab, and export that",
        ));
    }
    if faces.with_colors {
        notes.add("colours of faces were passed over: those of vertices are read");
    }

    let mut textures = Textures::new(bundle, limits);
    let mut materials = Vec::new();
    for name in &header.textures {
        let texture = textures.of_path(name, &mut notes)?.map(TextureUse::of);
        materials.push(Material { name: shorten(name.clone()), base_color_texture: texture, ..Material::default() });
    }
    let part = join(vertices, faces, materials.len(), limits)?;
    assembly.push(part, &mut notes)?;
    let mut textured = assembly.finish(materials)?;
    textured.textures = textures.finish(&mut textured.materials);
    Ok((textured, notes.finish()))
}

/// What faces say, one polygon after the other.
#[derive(Default)]
struct Faces {
    /// Index of each corner's vertex.
    corners: Vec<u32>,
    /// Number of corners, and index of the texture.
    polygons: Vec<(u32, u32)>,
    /// One a corner, or empty; as stored, v upwards.
    uvs: Vec<Vec2>,
    with_colors: bool,
}

const U_NAMES: &[&str] = &["s", "u", "texture_u", "texture_s"];
const V_NAMES: &[&str] = &["t", "v", "texture_v", "texture_t"];

/// Where the first property with one of these names is.
fn find(element: &Element, names: &[&str]) -> Option<usize> {
    element.properties.iter().position(|property| names.contains(&&*property.name))
}

fn read_vertices(body: &mut Body, element: &Element, part: &mut Part, assembly: &Assembly) -> Result<(), StageError> {
    let place = |name: &str| find(element, &[name]);
    let all = |names: [&str; 3]| -> Option<[usize; 3]> { Some([place(names[0])?, place(names[1])?, place(names[2])?]) };
    let position = all(["x", "y", "z"]).ok_or_else(|| damaged("the PLY's vertices have no x, y and z"))?;
    let normal = all(["nx", "ny", "nz"]);
    let color = all(["red", "green", "blue"]).or_else(|| all(["diffuse_red", "diffuse_green", "diffuse_blue"]));
    let alpha = place("alpha");
    let uv = find(element, U_NAMES).zip(find(element, V_NAMES));
    // Whole numbers are shares of their largest; decimals are shares of 1.
    let share = |place: usize, value: &Value| {
        let largest = match element.properties[place].kind {
            Scalar::U8 | Scalar::I8 => 255.0,
            Scalar::U16 | Scalar::I16 => 65535.0,
            Scalar::U32 | Scalar::I32 => f64::from(u32::MAX),
            Scalar::F32 | Scalar::F64 => 1.0,
        };
        (value.scalar() / largest) as f32
    };
    body.each(element, |values| {
        let vector = |places: [usize; 3]| Vec3::from(places.map(|i| values[i].scalar() as f32));
        assembly.check_room(part.mesh.positions.len() + 1, 0)?;
        part.mesh.positions.push(vector(position));
        part.mesh.normals.extend(normal.map(vector));
        part.mesh.uvs.extend(uv.map(|(u, v)| Vec2::new(values[u].scalar() as f32, 1.0 - values[v].scalar() as f32)));
        part.colors.extend(color.map(|places| {
            let [r, g, b] = places.map(|i| linear(share(i, &values[i])));
            Vec4::new(r, g, b, alpha.map_or(1.0, |i| share(i, &values[i])))
        }));
        Ok(())
    })
}

fn read_faces(
    body: &mut Body,
    element: &Element,
    faces: &mut Faces,
    assembly: &Assembly,
    notes: &mut Notes,
) -> Result<(), StageError> {
    let is_list = |place: &usize| element.properties[*place].count.is_some();
    let corners = find(element, &["vertex_indices", "vertex_index"]).filter(is_list);
    let Some(corners) = corners else { return body.each(element, |_| Ok(())) };
    let uvs = find(element, &["texcoord"]).filter(is_list);
    let texture = find(element, &["texnumber"]).filter(|place| !is_list(place));
    faces.with_colors = find(element, &["red"]).is_some();
    body.each(element, |values| {
        let found = values[corners].list();
        if found.len() < 3 {
            notes.add("faces with fewer than 3 corners were passed over");
            return Ok(());
        }
        assembly.check_room(0, faces.corners.len() / 3 + found.len() - 2)?;
        for corner in found {
            faces.corners.push(index(*corner)?);
        }
        // A texture number that is no index is that of the first texture.
        let texture = texture.map_or(0, |place| values[place].scalar().clamp(0.0, 1e6) as u32);
        faces.polygons.push((found.len() as u32, texture));
        if let Some(uvs) = uvs {
            let given = values[uvs].list();
            if given.len() != 2 * found.len() && !given.is_empty() {
                let message =
                    format!("a face of the PLY has {} corners and {} texture coordinates", found.len(), given.len());
                return Err(damaged(message));
            }
            let uv = |i: usize| given.get(2 * i).map_or(Vec2::ZERO, |u| Vec2::new(*u as f32, given[2 * i + 1] as f32));
            // Corners of other elements may have none.
            faces.uvs.resize(faces.corners.len() - found.len(), Vec2::ZERO);
            faces.uvs.extend((0..found.len()).map(uv));
        }
        Ok(())
    })
}

/// Strips in one or more lists; -1 begins another.
fn read_strips(body: &mut Body, element: &Element, faces: &mut Faces, assembly: &Assembly) -> Result<(), StageError> {
    let list = find(element, &["vertex_indices", "vertex_index"]).filter(|i| element.properties[*i].count.is_some());
    let Some(list) = list else { return body.each(element, |_| Ok(())) };
    body.each(element, |values| {
        for strip in values[list].list().split(|&index| index == -1.0) {
            for (i, corners) in strip.windows(3).enumerate() {
                let [a, b, c] = [index(corners[0])?, index(corners[1])?, index(corners[2])?];
                // A corner that is repeated turns the strip around without a triangle.
                if a != b && b != c && c != a {
                    faces.corners.extend(if i % 2 == 0 { [a, b, c] } else { [b, a, c] });
                    faces.polygons.push((3, 0));
                }
            }
            assembly.check_room(0, faces.polygons.len())?;
        }
        Ok(())
    })
}

fn index(value: f64) -> Result<u32, StageError> {
    if value >= 0.0 && value < f64::from(u32::MAX) && value.fract() == 0.0 {
        Ok(value as u32)
    } else {
        Err(damaged(format!("a face of the PLY names vertex {value}")))
    }
}

/// Vertices and faces as triangles. Where corners have texture coordinates of
/// their own, a vertex becomes one for each that it has.
fn join(vertices: Part, mut faces: Faces, n_textures: usize, limits: &Limits) -> Result<Part, StageError> {
    let n = vertices.mesh.positions.len();
    if let Some(i) = faces.corners.iter().find(|&&i| i as usize >= n) {
        return Err(damaged(format!("a face of the PLY names vertex {i} of {n}")));
    }
    let (mut part, corners) = match faces.uvs.len() {
        0 => (vertices, faces.corners),
        _ => {
            faces.uvs.resize(faces.corners.len(), Vec2::ZERO);
            split(vertices, &faces)
        }
    };
    let mut at = 0;
    for &(n_corners, texture) in &faces.polygons {
        let polygon = &corners[at..at + n_corners as usize];
        at += polygon.len();
        let n = part.mesh.triangles.len() + polygon.len() - 2;
        if n > limits.triangles {
            return Err(super::too_large("triangles", n, limits.triangles));
        }
        let places: Vec<Vec3> = polygon.iter().map(|&v| part.mesh.positions[v as usize]).collect();
        let material = if (texture as usize) < n_textures { texture } else { 0 };
        part.mesh.triangles.extend(triangulate(&places).into_iter().map(|t| t.map(|i| polygon[i])));
        part.face_materials.resize(part.mesh.triangles.len(), material);
    }
    Ok(part)
}

fn split(vertices: Part, faces: &Faces) -> (Part, Vec<u32>) {
    let mut known = HashMap::new();
    let mut part = Part::default();
    let corners = faces.corners.iter().zip(&faces.uvs).map(|(&vertex, uv)| {
        *known.entry((vertex, uv.to_array().map(f32::to_bits))).or_insert_with(|| {
            let vertex = vertex as usize;
            part.mesh.positions.push(vertices.mesh.positions[vertex]);
            part.mesh.normals.extend(vertices.mesh.normals.get(vertex));
            part.colors.extend(vertices.colors.get(vertex));
            part.mesh.uvs.push(Vec2::new(uv.x, 1.0 - uv.y));
            part.mesh.positions.len() as u32 - 1
        })
    });
    let corners = corners.collect();
    (part, corners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(TexturedMesh, Vec<String>), StageError> {
        super::read(&Bundle::single("", text.as_bytes().to_vec()), &Limits::default())
    }

    const SQUARE: &str = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty double y\nproperty int z\n\
                          property uchar red\nproperty uchar green\nproperty uchar blue\n";
    const CORNERS: &str = "0 0 0 255 0 0\n1 0 0 0 255 0\n1 1 0 0 0 255\n0 1 0 188 188 188\n";

    #[test]
    fn polygons_with_colours_of_vertices() {
        let faces = "element face 1\nproperty list uchar int vertex_index\nend_header\n";
        let (out, notes) = read(&format!("{SQUARE}{faces}{CORNERS}4 0 1 2 3\n")).unwrap();
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [0, 2, 3]]);
        assert_eq!(out.colors[0], Vec4::new(1.0, 0.0, 0.0, 1.0));
        assert!((out.colors[3].x - 0.503).abs() < 1e-3, "sRGB 188 is half the light: {}", out.colors[3]);
        assert!(notes.is_empty());
    }

    #[test]
    fn strips_begin_anew_at_minus_one() {
        let strips = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n";
        let (out, _) = read(&format!("{SQUARE}{strips}{CORNERS}8 0 1 3 2 -1 0 1 2\n")).unwrap();
        assert_eq!(out.mesh.triangles, [[0, 1, 3], [3, 1, 2], [0, 1, 2]]);
    }

    #[test]
    fn corners_with_their_own_texture_coordinates_split_vertices() {
        let faces =
            "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n";
        let lists = "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 0.5 1 0 1\n";
        let (out, _) = read(&format!("{SQUARE}{faces}{CORNERS}{lists}")).unwrap();
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [0, 3, 4]]);
        assert_eq!(out.mesh.uvs, [Vec2::new(0.0, 1.0), Vec2::ONE, Vec2::X, Vec2::new(0.5, 0.0), Vec2::ZERO]);
        assert_eq!(out.mesh.positions[2], out.mesh.positions[3]);
    }

    #[test]
    fn both_byte_orders_and_every_type_are_read() {
        let header = |order: &str| {
            format!(
                "ply\r\nformat binary_{order}_endian 1.0\r\ncomment x\r\nelement other 2\r\nproperty list ushort double a\r\n\
                 property short b\r\nelement vertex 3\r\nproperty double x\r\nproperty float y\r\nproperty char z\r\n\
                 element face 1\r\nproperty list uint ushort vertex_indices\r\nend_header\r\n"
            )
        };
        let mut files = [Vec::new(), Vec::new()];
        for (file, order) in files.iter_mut().zip(["little", "big"]) {
            let mut out = header(order).into_bytes();
            let mut put = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                if order == "big" {
                    bytes.reverse();
                }
                out.extend(bytes);
            };
            for n in [0u16, 2] {
                put(&n.to_le_bytes());
                (0..n).for_each(|_| put(&0.5f64.to_le_bytes()));
                put(&7i16.to_le_bytes());
            }
            for (x, y, z) in [(0.0f64, 0.0f32, -1i8), (1.0, 0.0, -1), (0.0, 1.0, 3)] {
                put(&x.to_le_bytes());
                put(&y.to_le_bytes());
                put(&z.to_le_bytes());
            }
            put(&3u32.to_le_bytes());
            (0..3u16).for_each(|i| put(&i.to_le_bytes()));
            *file = out;
        }
        for file in &files {
            let (out, _) = super::read(&Bundle::single("", file.clone()), &Limits::default()).unwrap();
            assert_eq!(out.mesh.positions[2], Vec3::new(0.0, 1.0, 3.0));
            assert_eq!(out.mesh.positions[0], Vec3::new(0.0, 0.0, -1.0));
            assert_eq!(out.mesh.triangles, [[0, 1, 2]]);
            let cut = Bundle::single("", file[..file.len() - 1].to_vec());
            assert_eq!(super::read(&cut, &Limits::default()).unwrap_err().kind, StageErrorKind::Truncated);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: String| {
            let error = read(&text).unwrap_err();
            format!("{:?}: {}", error.kind, error.message)
        };
        let faces = "element face 1\nproperty list uchar int vertex_indices\nend_header\n";
        let square = format!("{SQUARE}{faces}{CORNERS}");
        assert_eq!(error(format!("{square}3 0 1 4\n")), "InvalidInput: a face of the PLY names vertex 4 of 4");
        assert_eq!(error(format!("{square}3 0 1 -1\n")), "InvalidInput: a face of the PLY names vertex -1");
        assert_eq!(error(format!("{square}3 0 1")), "Truncated: the PLY ends in element 0 of 1 `face`");
        assert_eq!(
            error(format!("{square}3 0 1 x")),
            "InvalidInput: the PLY has `x` for a number in element 0 of `face`"
        );
        assert_eq!(error(format!("{square}1 0")), "Unsupported: the PLY is a cloud of 4 points without faces");
        assert_eq!(
            error(format!("{SQUARE}end_header\n{CORNERS}")),
            "Unsupported: the PLY is a cloud of 4 points without faces"
        );
        let many = SQUARE.replace("vertex 4", "vertex 99999999999");
        assert_eq!(
            error(format!("{many}{faces}{CORNERS}")),
            "Truncated: the PLY ends in element 4 of 99999999999 `vertex`"
        );
        assert_eq!(
            error("ply\nformat ascii 1.0\nelement vertex 3\n".to_owned()),
            "Truncated: the PLY's header has no end"
        );
        assert_eq!(
            error("ply\nformat ascii 2.0\nend_header\n".to_owned()),
            "Unsupported: PLY format `ascii 2.0` is not read"
        );
        let nothing = "ply\nformat binary_little_endian 1.0\nelement a 99999999999\nend_header\n";
        assert_eq!(error(nothing.to_owned()), "InvalidInput: the mesh file has no triangles");
    }
}
