//! STL, binary and ASCII: triangles without an index, welded by position.
//!
//! Format: 3D Systems, "StereoLithography Interface Specification", 1988. Facet
//! normals are not read: they follow from the winding. Colours in the attribute
//! bytes, which programs disagree about, are not read.

use std::collections::HashMap;

use glam::Vec3;

use super::{
    Limits,
    assembly::{Assembly, Notes, Part},
    damaged,
    sniff::binary_stl_size,
    text::{number, text, tokens},
    truncated,
};
use crate::{
    error::StageError,
    mesh::{Mesh, textured::TexturedMesh},
};

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<(TexturedMesh, Vec<String>), StageError> {
    let mut notes = Notes::default();
    let mut assembly = Assembly::new(limits);
    // A header may begin with `solid`, too; then the size decides.
    let is_ascii = bytes.trim_ascii_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"solid"))
        && binary_stl_size(bytes) != Some(bytes.len() as u64);
    let mesh = if is_ascii { ascii(bytes, &assembly)? } else { binary(bytes, &assembly, &mut notes)? };
    let n = mesh.triangles.len();
    assembly.push(Part { mesh, face_materials: vec![0; n], ..Part::default() }, &mut notes)?;
    Ok((assembly.finish(Vec::new())?, notes.finish()))
}

fn binary(bytes: &[u8], assembly: &Assembly, notes: &mut Notes) -> Result<Mesh, StageError> {
    let expected = binary_stl_size(bytes).unwrap_or(84);
    if expected > bytes.len() as u64 {
        return Err(truncated(format!("the STL ends after {} of {expected} bytes", bytes.len())));
    }
    let facets = bytes[84..expected as usize].as_chunks::<50>().0;
    assembly.check_room(0, facets.len())?;
    if expected < bytes.len() as u64 {
        notes.add(format!("{} bytes after the STL's last triangle were passed over", bytes.len() as u64 - expected));
    }
    let mut weld = Weld::default();
    for facet in facets {
        let corner = |at: usize| {
            let word = |at: usize| f32::from_le_bytes([facet[at], facet[at + 1], facet[at + 2], facet[at + 3]]);
            Vec3::new(word(at), word(at + 4), word(at + 8))
        };
        weld.push([corner(12), corner(24), corner(36)]);
    }
    Ok(weld.mesh)
}

/// Any number of solids, one after the other, are one mesh.
fn ascii(bytes: &[u8], assembly: &Assembly) -> Result<Mesh, StageError> {
    let mut words = tokens(bytes);
    let mut weld = Weld::default();
    let mut corners = Vec::with_capacity(3);
    let mut is_complete = false;
    while let Some(word) = words.next() {
        match &word.to_ascii_lowercase()[..] {
            b"vertex" => {
                let mut coordinate = || match words.next() {
                    Some(word) => {
                        number(word).ok_or_else(|| damaged(format!("the STL has a vertex at `{}`", text(word))))
                    }
                    None => Err(cut(weld.mesh.triangles.len())),
                };
                corners.push(Vec3::new(coordinate()?, coordinate()?, coordinate()?));
                if corners.len() > 3 {
                    return Err(damaged(format!(
                        "facet {} of the STL has more than 3 corners",
                        weld.mesh.triangles.len()
                    )));
                }
            }
            b"endfacet" => {
                let Ok(corners) = <[Vec3; 3]>::try_from(std::mem::take(&mut corners)) else {
                    return Err(damaged(format!(
                        "facet {} of the STL has fewer than 3 corners",
                        weld.mesh.triangles.len()
                    )));
                };
                weld.push(corners);
                assembly.check_room(0, weld.mesh.triangles.len())?;
            }
            b"endsolid" => is_complete = true,
            b"facet" => is_complete = false,
            _ => {}
        }
    }
    if !is_complete {
        return Err(cut(weld.mesh.triangles.len()));
    }
    Ok(weld.mesh)
}

fn cut(n: usize) -> StageError {
    truncated(format!("the STL ends in its triangle {n}"))
}

/// Equal positions are one vertex; order is that of first appearance.
#[derive(Default)]
struct Weld {
    mesh: Mesh,
    known: HashMap<[u32; 3], u32>,
}

impl Weld {
    fn push(&mut self, corners: [Vec3; 3]) {
        let triangle = corners.map(|p| {
            // Adding 0 makes -0 and 0 one place.
            let p = p + Vec3::ZERO;
            *self.known.entry(p.to_array().map(f32::to_bits)).or_insert_with(|| {
                self.mesh.positions.push(p);
                self.mesh.positions.len() as u32 - 1
            })
        });
        self.mesh.triangles.push(triangle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StageErrorKind;

    const TWO: &str = "solid a\nfacet normal 0 0 0\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n\
                       FACET NORMAL 0 0 0 OUTER LOOP VERTEX 1 0 0 VERTEX 1e0 1 0 VERTEX -0 1 0 ENDLOOP ENDFACET\nendsolid a\n";

    #[test]
    fn equal_corners_are_one_vertex() {
        let (out, _) = read(TWO.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(out.mesh.positions, [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::new(1.0, 1.0, 0.0)]);
        assert_eq!(out.mesh.triangles, [[0, 1, 2], [1, 3, 2]]);
    }

    #[test]
    fn solids_add_up_and_bytes_at_the_end_are_noted() {
        assert_eq!(read(TWO.repeat(2).as_bytes(), &Limits::default()).unwrap().0.mesh.triangles.len(), 4);
        let mut bytes = vec![0; 80];
        bytes.extend(1u32.to_le_bytes());
        bytes
            .extend([0f32, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0].iter().flat_map(|v| v.to_le_bytes()));
        bytes.extend([0, 0, b'!']);
        let (out, notes) = read(&bytes, &Limits::default()).unwrap();
        assert_eq!((out.mesh.triangles.len(), notes.len()), (1, 1));
        let error = read(&bytes[..120], &Limits::default()).unwrap_err();
        assert_eq!((error.kind, &*error.message), (StageErrorKind::Truncated, "the STL ends after 120 of 134 bytes"));
    }

    #[test]
    fn damage_is_told_apart_from_an_early_end() {
        let kind = |text: &str| read(text.as_bytes(), &Limits::default()).unwrap_err().kind;
        assert_eq!(kind(&TWO[..TWO.len() - 12]), StageErrorKind::Truncated);
        assert_eq!(kind(&TWO[..60]), StageErrorKind::Truncated);
        assert_eq!(kind("solid a facet vertex 1 2 3 endfacet endsolid"), StageErrorKind::InvalidInput);
        assert_eq!(kind("solid a facet vertex 1 2 x endfacet endsolid"), StageErrorKind::InvalidInput);
        assert_eq!(
            kind("solid a facet vertex nan 0 0 vertex 1 0 0 vertex 0 1 0 endfacet endsolid"),
            StageErrorKind::InvalidInput
        );
        assert_eq!(kind("solid a endsolid a"), StageErrorKind::InvalidInput);
    }
}
