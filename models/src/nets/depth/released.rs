//! What is known of the published checkpoints beside their weights: sizes, pre-processing, and the
//! camera that depths in metres assume.

use serde_json::{Value as Json, json};

use super::processor::{Fit, Processor, Resize};
use crate::{error::StageError, image::pil_resize::Filter};

/// One published checkpoint.
struct Released {
    id: &'static str,
    family: Family,
    /// Horizontal field of view that depths in metres were learnt with, in degrees.
    view: Option<f32>,
}

enum Family {
    Dpt,
    DptHybrid,
    /// DPT over a BEiT, as in MiDaS 3.1.
    Midas,
    /// Width and heads of the transformer.
    Anything {
        d: usize,
        max_depth: Option<f64>,
    },
    /// Name and largest depth of each kind of scenes.
    Zoe {
        domains: &'static [(&'static str, f64)],
        is_normed: bool,
    },
}

/// ZoeDepth, `zoedepth/utils/geometry.py`, takes 55 degrees to turn depths into points.
const ZOE_VIEW: f32 = 55.0;
/// Hypersim's cameras have 60 degrees (apple/ml-hypersim).
const INDOOR_VIEW: f32 = 60.0;
/// Virtual KITTI 2's have 725 pixels of focal length at 1242 pixels of width.
const OUTDOOR_VIEW: f32 = 81.2;

static RELEASED: &[Released] = &[
    relative("depth-anything-v2-small", Family::Anything { d: 384, max_depth: None }),
    relative("depth-anything-v2-base", Family::Anything { d: 768, max_depth: None }),
    relative("depth-anything-v2-large", Family::Anything { d: 1024, max_depth: None }),
    metric("depth-anything-v2-indoor", Family::Anything { d: 384, max_depth: Some(20.0) }, INDOOR_VIEW),
    metric("depth-anything-v2-outdoor", Family::Anything { d: 384, max_depth: Some(80.0) }, OUTDOOR_VIEW),
    metric("zoedepth-n", Family::Zoe { domains: &[("nyu", 10.0)], is_normed: false }, ZOE_VIEW),
    metric("zoedepth-k", Family::Zoe { domains: &[("kitti", 80.0)], is_normed: true }, ZOE_VIEW),
    metric("zoedepth-nk", Family::Zoe { domains: &[("nyu", 10.0), ("kitti", 80.0)], is_normed: false }, ZOE_VIEW),
    relative("dpt-large", Family::Dpt),
    relative("dpt-hybrid", Family::DptHybrid),
    relative("midas", Family::Midas),
];

const fn relative(id: &'static str, family: Family) -> Released {
    Released { id, family, view: None }
}

const fn metric(id: &'static str, family: Family, view: f32) -> Released {
    Released { id, family, view: Some(view) }
}

/// Every network there is, by id.
pub fn ids() -> impl Iterator<Item = &'static str> {
    RELEASED.iter().map(|released| released.id)
}

fn find(id: &str) -> Result<&'static Released, StageError> {
    let known = RELEASED.iter().find(|released| released.id == id);
    known.ok_or_else(|| StageError::internal(format!("`{id}` is no network for depth")))
}

/// Horizontal field of view that the depths of `id` assume, in degrees; `None` for relative ones.
pub fn view(id: &str) -> Option<f32> {
    find(id).ok().and_then(|released| released.view)
}

/// What the checkpoint's `config.json` says.
pub fn config(id: &str) -> Result<Json, StageError> {
    let beit = json!({
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "image_size": 384, "out_features": ["stage6", "stage12", "stage18", "stage24"],
    });
    let wide = [256, 512, 1024, 1024];
    Ok(match &find(id)?.family {
        Family::Dpt => json!({
            "model_type": "dpt", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
            "intermediate_size": 4096, "backbone_out_indices": [5, 11, 17, 23], "neck_hidden_sizes": wide,
        }),
        Family::DptHybrid => json!({
            "model_type": "dpt", "is_hybrid": true, "reassemble_factors": [1, 1, 1, 0.5],
            "neck_hidden_sizes": [256, 512, 768, 768],
        }),
        Family::Midas => json!({ "model_type": "dpt", "backbone_config": beit, "neck_hidden_sizes": wide }),
        Family::Anything { d, max_depth } => {
            let (depth, stages) = if *d == 1024 { (24, [5, 12, 18, 24]) } else { (12, [3, 6, 9, 12]) };
            let (sizes, fused) = match d {
                384 => ([48, 96, 192, 384], 64),
                768 => ([96, 192, 384, 768], 128),
                _ => ([256, 512, 1024, 1024], 256),
            };
            json!({
                "model_type": "depth_anything",
                "backbone_config": {
                    "hidden_size": d, "num_hidden_layers": depth, "num_attention_heads": d / 64, "image_size": 518,
                    "out_features": stages.map(|n| format!("stage{n}")),
                },
                "neck_hidden_sizes": sizes, "fusion_hidden_size": fused,
                "depth_estimation_type": if max_depth.is_some() { "metric" } else { "relative" },
                "max_depth": max_depth,
            })
        }
        Family::Zoe { domains, is_normed } => json!({
            "model_type": "zoedepth", "backbone_config": beit,
            "bin_centers_type": if *is_normed { "normed" } else { "softplus" },
            "bin_configurations": domains
                .iter()
                .map(|(name, max)| json!({ "name": name, "n_bins": 64, "min_depth": 1e-3, "max_depth": max }))
                .collect::<Vec<_>>(),
        }),
    })
}

/// How pictures become input of the network `id` (reference: the processor of each family in
/// transformers 4.57.1 with the arguments of the conversion scripts).
pub fn processor(id: &str) -> Result<Processor, StageError> {
    let half = Processor {
        height: 384,
        width: 384,
        fit: Fit::Stretch,
        resize: Resize::Pillow(Filter::Bicubic),
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    Ok(match find(id)?.family {
        Family::Dpt | Family::DptHybrid => half,
        Family::Midas => Processor { fit: Fit::Keep { multiple: 32 }, ..half },
        Family::Anything { .. } => Processor {
            height: 518,
            width: 518,
            fit: Fit::Keep { multiple: 14 },
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            ..half
        },
        Family::Zoe { .. } => {
            Processor { width: 512, fit: Fit::Keep { multiple: 32 }, resize: Resize::Corners { padded: true }, ..half }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nets::depth::{Config, Unit};

    #[test]
    fn every_released_network_has_sizes_a_processor_and_a_camera_where_it_measures() {
        for id in ids() {
            let config = Config::released(id).unwrap();
            let is_metric = config.unit() == Unit::Metres;
            assert_eq!(view(id).is_some(), is_metric, "{id}");
            let processor = processor(id).unwrap();
            let (height, width) = processor.size(480, 640);
            config.check_size(height, width).unwrap();
            assert!(config.vit.trained_side >= 384 && config.vit.taken_after.last() == Some(&config.vit.depth), "{id}");
        }
        assert!(Config::released("triposr").is_err());
    }
}
