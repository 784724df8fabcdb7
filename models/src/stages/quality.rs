//! How much a reconstruction by a network takes pains: what one word sets at once.

use crate::{
    cx::StageCx,
    error::StageError,
    field::Wishes,
    nets::Precision,
    slot::Asset,
    stage::{Param, ParamKind},
};

/// A word, and what it means.
pub struct Quality {
    pub id: &'static str,
    /// `None`: what suits the device best.
    pub precision: Option<Precision>,
    /// Cells along the side of the field.
    pub resolution: u32,
    /// Side of the texture, in texels.
    pub texture: u32,
}

/// The first is the default.
pub static QUALITIES: &[Quality] = &[
    Quality { id: "auto", precision: None, resolution: 256, texture: 1024 },
    Quality { id: "light", precision: None, resolution: 128, texture: 512 },
    Quality { id: "standard", precision: None, resolution: 256, texture: 1024 },
    Quality { id: "high", precision: Some(Precision::F32), resolution: 512, texture: 2048 },
];

pub const PARAM: Param = Param {
    id: "quality",
    doc: "Fineness of the surface, size of the texture and precision of the network at once.",
    unit: "",
    kind: ParamKind::Choice { default: "auto", options: &["auto", "light", "standard", "high"] },
};

pub const PRECISION: Param = Param {
    id: "precision",
    doc: "Numbers that the network computes with; auto is what the quality says, which suits the device.",
    unit: "",
    kind: ParamKind::Choice { default: "auto", options: &["auto", "f32", "bf16x3", "bf16", "f16"] },
};

/// Smallest texture, in texels.
const MIN_TEXTURE: i64 = 64;

/// Parameter `size`, of which 0 leaves the texture's size to the field.
pub const fn texture_param(doc: &'static str) -> Param {
    Param { id: "size", doc, unit: "px", kind: ParamKind::Int { default: 0, min: 0, max: 8192 } }
}

/// Side of the texture: the parameter `size`, or what the field asks for, or 1024.
pub fn texture_size(cx: &StageCx, asset: &Asset) -> Result<u32, StageError> {
    match cx.int("size") {
        0 => Ok(asset.field().map_or(Wishes::default(), |field| field.wishes).texture),
        size if size >= MIN_TEXTURE => Ok(size as u32),
        size => Err(StageError::invalid(
            format!("a texture of {size} texels is smaller than {MIN_TEXTURE}"),
            format!("set size to 0 or to at least {MIN_TEXTURE}"),
        )),
    }
}

impl Quality {
    /// The one called `id`, else the default.
    pub fn find(id: &str) -> &'static Quality {
        QUALITIES.iter().find(|quality| quality.id == id).unwrap_or(&QUALITIES[0])
    }

    /// What the stages after the network are asked for.
    pub fn wishes(&self, height: f32) -> Wishes {
        Wishes { height, resolution: self.resolution, texture: self.texture }
    }
}

/// `None` for `auto`.
pub fn precision(id: &str) -> Option<Precision> {
    Precision::find(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_name_what_there_is() {
        let options = |param: &Param| match param.kind {
            ParamKind::Choice { options, default } => (options, default),
            _ => panic!("{} is no choice", param.id),
        };
        let ids: Vec<_> = QUALITIES.iter().map(|quality| quality.id).collect();
        assert_eq!(options(&PARAM), (ids.as_slice(), ids[0]));
        let ids: Vec<_> = ["auto"].into_iter().chain(Precision::ALL.iter().map(|p| p.id())).collect();
        assert_eq!(options(&PRECISION), (ids.as_slice(), ids[0]));
    }
}
