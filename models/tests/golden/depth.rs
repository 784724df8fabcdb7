//! Fixtures of kinds `depth` and `depth_processor`: pictures to depths, and what comes before.

use std::{cell::RefCell, collections::HashMap};

use image::RgbImage;
use meshkiln_models::{
    image::pil_resize::Filter,
    nets::{
        Checkpoint, Compute, Vars, Watch,
        blocks::to_host,
        checkpoint::{Stored, Values},
        depth::{
            Config, DepthNet,
            processor::{Fit, Pixels, Processor, Resize},
        },
    },
};
use serde_json::Value as Json;

use crate::fixture::{Comparison, Fixture};

/// Every output of every picture within the fixture's own tolerance.
pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    fixture.check_weights();
    compare_each(fixture, compute, &|output, values| Some(fixture.compare(output, values)))
}

/// Share of the range of depths that products of two bf16 for each f32, and of bf16, may make.
/// Measured with the kernels of a CPU: bf16 0.014 on the full-size network, 0.08 on the worst of the
/// tiny ones; two bf16 nothing where there are no tiles for them.
pub const SPLIT: f64 = 0.002;
pub const HALF: f64 = 0.16;

/// Depths within `share` of the range of the stored ones: what products of rounded numbers may do.
pub fn compare_rounded(fixture: &Fixture, compute: &Compute, share: f64) -> Vec<Comparison> {
    compare_each(fixture, compute, &|output, values| {
        let golden = output.ends_with(".depth").then(|| fixture.golden(output).1)?;
        let bounds = |(low, high): (f32, f32), v: &f32| (low.min(*v), high.max(*v));
        let (low, high) = golden.iter().fold((f32::MAX, f32::MIN), bounds);
        Some(fixture.compare_within(output, values, &|_| share * f64::from(high - low)))
    })
}

fn compare_each(
    fixture: &Fixture,
    compute: &Compute,
    compare: &dyn Fn(&str, &[f32]) -> Option<Comparison>,
) -> Vec<Comparison> {
    let config = Config::from_tree(&fixture.config).expect("configuration");
    let mean = triple(&fixture.config["mean"]);
    let std = triple(&fixture.config["std"]);
    // Pictures have the size that the networks take.
    let processor =
        Processor { height: 0, width: 0, fit: Fit::Stretch, resize: Resize::Pillow(Filter::Bicubic), mean, std };
    let weights = fixture.weights();
    let make = |weights: &dyn Checkpoint| {
        DepthNet::new(config.clone(), processor.clone(), &Vars::new(weights, compute)).expect("network")
    };
    let net = make(&weights);
    let has_authors_names = fixture.config["model"] == "depth_anything";
    let authors = has_authors_names.then(|| make(&Authors::new(fixture)));

    let mut pictures: Vec<&str> = fixture.outputs.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    pictures.dedup();
    let mut compared = Vec::new();
    for name in pictures {
        let (shape, bytes) = fixture.input_bytes(name);
        let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).expect("picture");
        let pixels = Pixels::of(&picture, mean, std);
        let values = values(&net, &pixels, fixture, name);
        if let Some(authors) = &authors {
            let depth = authors.run(&pixels, &Watch::nobody()).expect("depth");
            assert!(depth.data == values[&format!("{name}.depth")], "{name}: the authors' names give another depth");
        }
        let outputs = fixture.outputs.keys().filter(|output| output.starts_with(&format!("{name}.")));
        compared.extend(outputs.filter_map(|output| compare(output, &values[output])));
    }
    compared
}

/// The weights of a Depth Anything V2 as its authors store them: by the names of their code, with
/// queries, keys and values as one tensor (`parity/README.md`, section 5).
struct Authors(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Authors {
    fn new(fixture: &Fixture) -> Authors {
        let mut tensors: HashMap<String, (Vec<usize>, Vec<f32>)> = HashMap::new();
        for (name, spread) in &fixture.tensors {
            let values = spread.values(name, fixture.seed);
            let stored = tensors.entry(authors_name(name)).or_insert_with(|| (spread.shape.clone(), Vec::new()));
            // Queries come first, then keys, then values: the order of the checkpoint.
            if !stored.1.is_empty() {
                stored.0[0] += spread.shape[0];
            }
            stored.1.extend(values);
        }
        Authors(tensors)
    }
}

impl Checkpoint for Authors {
    fn find(&self, key: &str, _: &[usize]) -> Option<Stored<'_>> {
        let (shape, values) = self.0.get(key)?;
        Some(Stored { shape: shape.clone(), values: Values::F32(values.as_slice().into()) })
    }
}

fn authors_name(name: &str) -> String {
    const PARTS: &[(&str, &str)] = &[
        ("backbone.encoder.layer.", "pretrained.blocks."),
        ("attention.attention.query", "attn.qkv"),
        ("attention.attention.key", "attn.qkv"),
        ("attention.attention.value", "attn.qkv"),
        ("attention.output.dense", "attn.proj"),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
        ("backbone.layernorm", "pretrained.norm"),
        ("backbone.embeddings.cls_token", "pretrained.cls_token"),
        ("backbone.embeddings.mask_token", "pretrained.mask_token"),
        ("backbone.embeddings.position_embeddings", "pretrained.pos_embed"),
        ("backbone.embeddings.patch_embeddings.projection", "pretrained.patch_embed.proj"),
        ("neck.convs.0", "depth_head.scratch.layer1_rn"),
        ("neck.convs.1", "depth_head.scratch.layer2_rn"),
        ("neck.convs.2", "depth_head.scratch.layer3_rn"),
        ("neck.convs.3", "depth_head.scratch.layer4_rn"),
        ("neck.fusion_stage.layers.0", "depth_head.scratch.refinenet4"),
        ("neck.fusion_stage.layers.1", "depth_head.scratch.refinenet3"),
        ("neck.fusion_stage.layers.2", "depth_head.scratch.refinenet2"),
        ("neck.fusion_stage.layers.3", "depth_head.scratch.refinenet1"),
        ("residual_layer1.convolution", "resConfUnit1.conv"),
        ("residual_layer2.convolution", "resConfUnit2.conv"),
        ("head.conv1", "depth_head.scratch.output_conv1"),
        ("head.conv2", "depth_head.scratch.output_conv2.0"),
        ("head.conv3", "depth_head.scratch.output_conv2.2"),
    ];
    if let Some(rest) = name.strip_prefix("neck.reassemble_stage.layers.") {
        let (level, rest) = rest.split_once('.').expect("level");
        let rest = match rest.strip_prefix("projection.") {
            Some(tensor) => format!("projects.{level}.{tensor}"),
            None => format!("resize_layers.{level}.{}", rest.strip_prefix("resize.").expect("resize")),
        };
        return format!("depth_head.{rest}");
    }
    let name = PARTS.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    if name.contains("refinenet") { name.replace(".projection.", ".out_conv.") } else { name }
}

/// By name of output, as a whole and channels first.
fn values(net: &DepthNet, pixels: &Pixels, fixture: &Fixture, picture: &str) -> HashMap<String, Vec<f32>> {
    let seen = RefCell::new(HashMap::new());
    let tap = |name: &str, value: &candle_core::Tensor| {
        let name = format!("{picture}.{name}");
        if fixture.outputs.contains_key(&name) {
            let turned = if value.rank() == 3 { value.permute((2, 0, 1)).expect("turned") } else { value.clone() };
            seen.borrow_mut().insert(name, to_host(&turned.contiguous().expect("turned")).expect("values"));
        }
    };
    let steps = RefCell::new(Vec::new());
    let step = |done: u32, total: u32| {
        steps.borrow_mut().push((done, total));
        Ok(())
    };
    let depth = net.run(pixels, &Watch { tap: Some(&tap), step: &step }).expect("depth");
    let total = net.n_steps();
    assert!(steps.borrow().is_sorted() && steps.borrow().last() == Some(&(total, total)), "{:?}", steps.borrow());

    // Nobody looking on changes nothing.
    let alone = net.run(pixels, &Watch::nobody()).expect("depth");
    assert!(alone.data == depth.data && (depth.width, depth.height) == (pixels.width, pixels.height));
    let mut values = seen.into_inner();
    values.insert(format!("{picture}.depth"), depth.data);
    values.insert(format!("{picture}.pixel_values"), channels_first(pixels));
    values
}

/// Pixels that the processors make of pictures.
pub fn compare_processors(fixture: &Fixture) -> Vec<Comparison> {
    let cases = fixture.config["cases"].as_array().expect("cases");
    let compare = |case: &Json| {
        let (shape, bytes) = fixture.input_bytes(case["image"].as_str().expect("image"));
        let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).expect("picture");
        let args = &case["args"];
        let size = |json: &Json| json.as_u64().expect("size") as usize;
        let multiple = size(&args["ensure_multiple_of"]);
        let or_half = |json: &Json| if json.is_null() { [0.5; 3] } else { triple(json) };
        let processor = Processor {
            height: size(&args["size"]["height"]),
            width: size(&args["size"]["width"]),
            fit: if args["keep_aspect_ratio"] == true { Fit::Keep { multiple } } else { Fit::Stretch },
            resize: match (case["class"] == "zoedepth", args["resample"] == 3) {
                (true, _) => Resize::Corners { padded: args["do_pad"] == true },
                (false, true) => Resize::Pillow(Filter::Bicubic),
                (false, false) => Resize::Pillow(Filter::Bilinear),
            },
            mean: or_half(&args["image_mean"]),
            std: or_half(&args["image_std"]),
        };
        fixture.compare(case["name"].as_str().expect("name"), &channels_first(&processor.pixels(&picture)))
    };
    cases.iter().map(compare).collect()
}

fn channels_first(pixels: &Pixels) -> Vec<f32> {
    (0..3).flat_map(|c| pixels.values.iter().skip(c).step_by(3).copied()).collect()
}

fn triple(json: &Json) -> [f32; 3] {
    [0, 1, 2].map(|i| json[i].as_f64().expect("number") as f32)
}
