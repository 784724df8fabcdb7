//! The figures of a finished asset.

use glam::Vec3;
use image::RgbaImage;
use serde_json::{Value as Json, json};

use crate::{
    export::glb::GlbContent,
    mesh::{
        Maps, Mesh,
        analysis::{Analysis, AnalysisLimits, analyze, rounded},
        compare::{self, Distances},
        fit,
        textured::TexturedMesh,
    },
};

/// Points on each surface when the asset is held against its high mesh: the mean
/// distance is off by about a hundredth of itself.
const N_SAMPLES: usize = 20_000;

pub struct Measured {
    pub analysis: Analysis,
    /// Names and sizes of the textures.
    textures: Vec<(&'static str, (u32, u32))>,
    /// How well it fits, and how well it must; `None` without a cutout.
    pub silhouette_iou: Option<(f64, f64)>,
    /// `None` without a high mesh, or when one of the two is empty.
    pub high: Option<VersusHigh>,
}

/// How far the asset is from what its details were taken from.
pub struct VersusHigh {
    pub distances: Distances,
    /// Asset over high; `None` unless both are closed.
    pub volume_ratio: Option<f64>,
}

impl Measured {
    /// All that the file alone says.
    pub fn surface(content: &GlbContent, limits: &AnalysisLimits) -> Measured {
        Measured {
            analysis: analyze(&content.mesh, content.maps.base_color.dimensions(), limits),
            textures: textures(&content.maps),
            silhouette_iou: None,
            high: None,
        }
    }

    pub fn with_silhouette(mut self, mesh: &Mesh, cutout: &RgbaImage, limit: f64) -> Measured {
        self.silhouette_iou = Some((fit::silhouette_iou(mesh, cutout), limit));
        self
    }

    /// `placed` is the asset's mesh where the high mesh is; export has moved it since.
    pub fn with_high(mut self, mesh: &Mesh, placed: Option<&Mesh>, high: &TexturedMesh) -> Measured {
        let high = &high.mesh;
        let middle = |mesh: &Mesh| mesh.bounds().map(|(low, high)| (low + high) / 2.0);
        let shift = match (middle(mesh), placed.and_then(middle)) {
            (Some(now), Some(then)) => then - now,
            _ => Vec3::ZERO,
        };
        let back = Mesh { positions: mesh.positions.iter().map(|p| *p + shift).collect(), ..mesh.clone() };
        let (distances, volume) =
            rayon::join(|| compare::distances(high, &back, N_SAMPLES, 0), || compare::closed_volume(high));
        // Both closed, or the ratio means nothing.
        let volume_ratio = volume.zip(self.analysis.volume()).map(|(a, b)| b / a);
        self.high = distances.map(|distances| VersusHigh { distances, volume_ratio });
        self
    }

    pub fn to_json(&self) -> Json {
        let mut json = self.analysis.to_json();
        let texture =
            |(map, (width, height)): &(&str, (u32, u32))| json!({ "map": map, "width": width, "height": height });
        json["textures"] = self.textures.iter().map(texture).collect();
        if let Some((iou, _)) = self.silhouette_iou {
            json["silhouette_iou"] = json!(rounded(iou));
        }
        if let Some(high) = &self.high {
            json["high"] = high.to_json();
        }
        json
    }
}

impl VersusHigh {
    /// Mean over both directions, relative to the diagonal of the high mesh's bounds.
    pub fn mean_distance(&self) -> f64 {
        self.distances.chamfer() / self.distances.diagonal
    }

    /// Share by which the volume differs; `None` unless both are closed.
    pub fn volume_change(&self) -> Option<f64> {
        self.volume_ratio.map(|ratio| (ratio - 1.0).abs())
    }

    fn to_json(&self) -> Json {
        json!({
            "mean_distance": rounded(self.mean_distance()),
            "max_distance": rounded(self.distances.max / self.distances.diagonal),
            "f_score_1": rounded(self.distances.f_score[0]),
            "normal_consistency": rounded(self.distances.normal_consistency),
            "diagonal_m": rounded(self.distances.diagonal),
            "volume_ratio": self.volume_ratio.map(rounded),
        })
    }
}

fn textures(maps: &Maps) -> Vec<(&'static str, (u32, u32))> {
    let more = [("normal", &maps.normal), ("orm", &maps.orm), ("emissive", &maps.emissive)];
    let more = more.into_iter().filter_map(|(name, image)| Some((name, image.as_ref()?.dimensions())));
    [("base_color", maps.base_color.dimensions())].into_iter().chain(more).collect()
}
