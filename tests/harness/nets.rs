//! Small real networks of TripoSR's architecture, put into a home as the user's own.
//!
//! Weights are those of the formula of `nets::synthetic`, but for a few that make a ball of the
//! field whatever the picture shows: nothing random has a surface that can be worked with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use meshkiln_models::nets::{
    Checkpoint, Compute, Loader, Precision,
    checkpoint::{Stored, Values},
    synthetic::Synthetic,
};
use meshkiln_protocol::{
    api::{NetListAll, NoParams},
    net::{Net, NetState},
};
use serde_json::{Value as Json, json};

use crate::{Daemon, Home, PATIENCE, until};

/// Of the surface, where the cube that the field fills is 1.74 wide.
const RADIUS: f32 = 0.5;

/// Sizes, on top of the tiny ones of the golden fixture.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Blocks of the backbone: each is a counted step.
    pub depth: usize,
    pub heads: usize,
    /// Side of a plane, in tokens.
    pub plane: usize,
}

impl Sizes {
    /// Tens of megabytes, and a moment for a picture.
    pub const SMALL: Sizes = Sizes { depth: 8, heads: 4, plane: 16 };
    /// Few megabytes, and many seconds for a picture.
    pub const SLOW: Sizes = Sizes { depth: 120, heads: 1, plane: 32 };
}

/// Shapes and values by name.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A checkpoint that remembers what it gave.
struct Recorded {
    source: Synthetic,
    given: Mutex<Tensors>,
}

impl Checkpoint for Recorded {
    fn find(&self, key: &str, shape: &[usize]) -> Option<Stored<'_>> {
        let stored = self.source.find(key, shape)?;
        let values = stored.values.into_f32().into_owned();
        self.given.lock().unwrap().insert(key.to_owned(), (shape.to_vec(), values.clone()));
        Some(Stored { shape: shape.to_vec(), values: Values::F32(values.into()) })
    }
}

/// The folder of a user's own net in this home.
pub fn folder(home: &Home, id: &str) -> PathBuf {
    home.path("cache/nets").join(id)
}

/// A network of one's own in this home: manifest, configuration and weights.
pub fn put(home: &Home, id: &str, seed: u64, sizes: Sizes) {
    let folder = folder(home, id);
    fs::create_dir_all(&folder).unwrap();
    let config = config(sizes);
    // JSON is YAML.
    fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&weights(&config, seed))).unwrap();
    let doc = format!("A ball, whatever the picture shows; seed {seed}.");
    fs::write(folder.join("net.toml"), format!("kind = \"triposr\"\ndoc = \"{doc}\"\nlicense = \"CC0-1.0\"\n"))
        .unwrap();
}

fn config(sizes: Sizes) -> Json {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/triposr_tiny.json");
    let mut fixture: Json = serde_json::from_str(&fs::read_to_string(fixture).unwrap()).unwrap();
    let mut config = fixture["config"].take();
    config["tokenizer"]["plane_size"] = json!(sizes.plane);
    config["backbone"]["num_layers"] = json!(sizes.depth);
    config["backbone"]["num_attention_heads"] = json!(sizes.heads);
    config["backbone"]["attention_head_dim"] = json!(64);
    config
}

fn weights(config: &Json, seed: u64) -> Tensors {
    let mut tensors = by_formula("triposr", config, seed);
    make_ball(&mut tensors, config);
    tensors
}

/// Every tensor that the network `id` asks for.
pub(crate) fn by_formula(id: &str, config: &Json, seed: u64) -> Tensors {
    let recorded = Recorded { source: Synthetic { seed, tensors: None }, given: Mutex::default() };
    let compute = Compute::cpu(Precision::F32).unwrap();
    Loader::find(id).unwrap().load(Some(config), &recorded, &compute).unwrap();
    recorded.given.into_inner().unwrap()
}

/// The first channel of each plane holds minus half the squared distance from its middle, the
/// decoder adds them up, and the density crosses its threshold at `RADIUS`. All else has little
/// or no say in the density, and makes the colours.
fn make_ball(tensors: &mut Tensors, config: &Json) {
    let channels = config["post_processor"]["out_channels"].as_u64().unwrap() as usize;
    let n_hidden = config["decoder"]["n_hidden_layers"].as_u64().unwrap() as usize;
    let cube = config["renderer"]["radius"].as_f64().unwrap() as f32;
    let mut change = |key: &str, how: &dyn Fn(&[usize], &mut [f32])| {
        let (shape, values) = tensors.get_mut(key).unwrap_or_else(|| panic!("no tensor {key}"));
        how(shape, values);
    };
    // What the picture adds is faint.
    change("backbone.proj_out.weight", &|_, values| values.iter_mut().for_each(|v| *v *= 0.01));
    change("backbone.proj_out.bias", &|_, values| values.fill(0.0));
    change("tokenizer.embeddings", &|shape, values| {
        let [_, n_channels, side, _] = shape[..] else { panic!("{shape:?}") };
        let at = |i: usize| ((i as f32 + 0.5) / side as f32 * 2.0 - 1.0) * cube;
        for plane in 0..3 {
            for (i, value) in values[plane * n_channels * side * side..][..side * side].iter_mut().enumerate() {
                let (row, column) = (at(i / side), at(i % side));
                *value = -(row * row + column * column) / 2.0;
            }
        }
    });
    // [channels in, channels out, 2, 2]: the first goes through as it is, and nowhere else.
    change("post_processor.upsample.weight", &|shape, values| {
        let per_input = shape[1..].iter().product::<usize>();
        for (input, values) in values.chunks_exact_mut(per_input).enumerate() {
            values[..4].fill(if input == 0 { 1.0 } else { 0.0 });
        }
    });
    change("post_processor.upsample.bias", &|_, values| values[0] = 0.0);
    // Far from 0, where SiLU leaves a value as it is.
    const LIFT: f32 = 8.0;
    for layer in 0..=n_hidden {
        let is_last = layer == n_hidden;
        change(&format!("decoder.layers.{}.weight", 2 * layer), &|shape, values| {
            let row = &mut values[..shape[1]];
            row.fill(0.0);
            match layer {
                0 => (0..3).for_each(|plane| row[plane * channels] = 4.0),
                _ => row[0] = if is_last { 6.0 } else { 1.0 },
            }
        });
        change(&format!("decoder.layers.{}.bias", 2 * layer), &|_, values| {
            // ln 25, the threshold, and the 1 that is taken off.
            values[0] = match layer {
                0 => LIFT + 4.0 * RADIUS * RADIUS,
                _ if is_last => 25f32.ln() + 1.0 - 6.0 * LIFT,
                _ => 0.0,
            };
        });
    }
}

/// Length of the header, header, values.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (key, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        header.insert(key.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let mut header = Json::Object(header).to_string().into_bytes();
    header.resize((header.len() + 8).next_multiple_of(64) - 8, b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

impl Daemon {
    pub fn net(&self, id: &str) -> Net {
        let nets = self.call::<NetListAll>(&NoParams {}).nets;
        nets.into_iter().find(|net| net.id == id).unwrap_or_else(|| panic!("no net {id}"))
    }

    pub fn until_net(&self, id: &str, state: NetState) -> Net {
        let mut net = self.net(id);
        until(&format!("net {id} is {state:?}"), PATIENCE, || {
            net = self.net(id);
            net.state == state
        });
        net
    }
}
