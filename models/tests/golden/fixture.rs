//! Reads a fixture of a reference implementation and holds values against it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    path::Path,
};

use meshkiln_models::nets::synthetic::{Spread, Synthetic, checksum};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

pub struct Fixture {
    pub name: String,
    pub kind: String,
    pub config: Json,
    pub seed: u64,
    pub n_parameters: u64,
    /// In the order of the checkpoint.
    pub tensors: Vec<(String, Spread)>,
    pub weights_checksum: Option<u64>,
    pub outputs: BTreeMap<String, Output>,
    bytes: Vec<u8>,
}

/// What is known of one output.
pub struct Output {
    pub shape: Vec<usize>,
    /// Where only a part is stored: the shape of the whole, and start, stop and step of each axis.
    part: Option<(Vec<usize>, Vec<[usize; 3]>)>,
    pub atol: f64,
    pub rtol: f64,
    /// Stored with 11 bits of mantissa, which tolerances allow for.
    is_half: bool,
}

/// Values against stored ones.
pub struct Comparison {
    pub name: String,
    pub n: usize,
    /// Largest difference.
    pub max_error: f64,
    /// The same over the tolerance at that place; up to 1 is within.
    pub share: f64,
    /// The first place that is not within, what was got and what is stored.
    pub first_bad: Option<(usize, f32, f32)>,
}

impl Comparison {
    pub fn is_within(&self) -> bool {
        self.first_bad.is_none() && self.n > 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Comparison { name, n, max_error, share, first_bad } = self;
        write!(f, "{name:24} {n:7} values, largest error {max_error:.3e}, {share:.4} of the tolerance")?;
        match first_bad {
            Some((i, got, golden)) => write!(f, "; first bad index {i}: {got} not {golden}"),
            None => Ok(()),
        }
    }
}

impl Fixture {
    pub fn open(path: &Path) -> Fixture {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let bytes = fs::read(path.with_extension("safetensors")).expect("values of the fixture");
        let json: Json = serde_json::from_str(&text).expect("description of the fixture");
        Fixture::new(&json, bytes)
    }

    pub fn new(json: &Json, bytes: Vec<u8>) -> Fixture {
        let tensors = json["tensors"].as_array().map_or(&[][..], |list| list);
        let spread = |t: &Json| {
            let spread = Spread { shape: sizes(&t["shape"]), a: number(&t["a"]) as f32, b: number(&t["b"]) as f32 };
            (text(&t["name"]).to_owned(), spread)
        };
        let outputs = json["outputs"].as_object().expect("outputs").iter();
        Fixture {
            name: text(&json["fixture"]).to_owned(),
            kind: text(&json["kind"]).to_owned(),
            config: json["config"].clone(),
            seed: text(&json["seed"]).parse().expect("seed"),
            n_parameters: json["parameters"].as_u64().unwrap_or(0),
            tensors: tensors.iter().map(spread).collect(),
            weights_checksum: json["weights_checksum"].as_str().map(|hex| u64::from_str_radix(hex, 16).expect("hex")),
            outputs: outputs.map(|(name, output)| (name.clone(), Output::new(output))).collect(),
            bytes,
        }
    }

    /// The weights, made when asked for.
    pub fn weights(&self) -> Synthetic {
        Synthetic { seed: self.seed, tensors: Some(self.tensors.iter().cloned().collect::<HashMap<_, _>>()) }
    }

    /// Panics unless the formula gives what the reference had.
    pub fn check_weights(&self) {
        let sum = self
            .tensors
            .iter()
            .fold(0u64, |sum, (name, spread)| sum.wrapping_add(checksum(&spread.values(name, self.seed))));
        assert_eq!(Some(sum), self.weights_checksum, "{}: checksum of the weights", self.name);
    }

    pub fn input_bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.stored(&format!("in.{name}"), Dtype::U8)
    }

    pub fn input(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.stored(&format!("in.{name}"), Dtype::F32);
        (shape, floats(&bytes))
    }

    /// Whatever it is stored as.
    pub fn golden(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let name = format!("out.{name}");
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let tensor = file.tensor(&name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name));
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::F32 => floats(data),
            Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::U8 => data.iter().map(|b| f32::from(*b)).collect(),
            other => panic!("{}: {name} is {other:?}", self.name),
        };
        (tensor.shape().to_vec(), values)
    }

    pub fn golden_bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.stored(&format!("out.{name}"), Dtype::U8)
    }

    fn stored(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name));
        assert_eq!(tensor.dtype(), dtype, "{}: {name}", self.name);
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    /// Holds the whole output `got`, row-major, against what is stored of it.
    pub fn compare(&self, name: &str, got: &[f32]) -> Comparison {
        self.compare_within(name, got, &|golden| {
            let Output { atol, rtol, is_half, .. } = &self.outputs[name];
            let rounding = if *is_half { f64::powi(2.0, -10) } else { 0.0 };
            atol + (rtol + rounding) * golden.abs()
        })
    }

    /// The same by the mean difference, which may be `most`.
    pub fn compare_mean(&self, name: &str, got: &[f32], most: f64) -> Comparison {
        let all = self.compare_within(name, got, &|_| f64::INFINITY);
        let (_, golden) = self.golden(name);
        let got = self.outputs[name].stored_part(name, got);
        let differences = got.iter().zip(&golden).map(|(a, b)| f64::from((a - b).abs()));
        let mean = differences.sum::<f64>() / golden.len() as f64;
        let first_bad = (mean.is_nan() || mean > most).then_some((0, got[0], golden[0]));
        Comparison { max_error: mean, share: mean / most, first_bad, ..all }
    }

    /// The same for bytes, which must be equal.
    pub fn compare_bytes(&self, name: &str, got: &[u8]) -> Comparison {
        let (shape, golden) = self.golden_bytes(name);
        assert_eq!(got.len(), golden.len(), "{name}: {shape:?}");
        let differences = got.iter().zip(&golden).map(|(a, b)| a.abs_diff(*b));
        let first_bad = differences.clone().position(|d| d > 0).map(|i| (i, f32::from(got[i]), f32::from(golden[i])));
        let max_error = f64::from(differences.max().unwrap_or(0));
        Comparison { name: name.to_owned(), n: got.len(), max_error, share: max_error, first_bad }
    }

    /// The same for bytes that were computed: a `share` of them may be off by one.
    pub fn compare_rounded(&self, name: &str, got: &[u8], share: f64) -> Comparison {
        let found = self.compare_bytes(name, got);
        let n_off = got.iter().zip(self.golden_bytes(name).1).filter(|(a, b)| **a != *b).count();
        let is_within = found.max_error <= 1.0 && n_off as f64 <= share * got.len() as f64;
        let share = n_off as f64 / (share * got.len() as f64);
        Comparison { share, first_bad: found.first_bad.filter(|_| !is_within), ..found }
    }

    /// The same with a tolerance of one's own for each stored value.
    pub fn compare_within(&self, name: &str, got: &[f32], tolerance: &dyn Fn(f64) -> f64) -> Comparison {
        let output = &self.outputs[name];
        let (shape, golden) = self.golden(name);
        assert_eq!(shape, output.shape, "{name}");
        let got = output.stored_part(name, got);
        let mut found =
            Comparison { name: name.to_owned(), n: golden.len(), max_error: 0.0, share: 0.0, first_bad: None };
        for (i, (got, golden)) in got.into_iter().zip(golden).enumerate() {
            let error = (f64::from(got) - f64::from(golden)).abs();
            let share = if error == 0.0 { 0.0 } else { error / tolerance(f64::from(golden)) };
            found.max_error = found.max_error.max(error);
            found.share = found.share.max(share);
            if (share > 1.0 || share.is_nan()) && found.first_bad.is_none() {
                found.first_bad = Some((i, got, golden));
            }
        }
        found
    }
}

impl Output {
    fn new(json: &Json) -> Output {
        let slices = json["slice"]
            .as_array()
            .map(|axes| axes.iter().map(|axis| sizes(axis).try_into().expect("start, stop and step")).collect());
        Output {
            shape: sizes(&json["shape"]),
            part: slices.map(|slices| (sizes(&json["full_shape"]), slices)),
            atol: json["atol"].as_f64().unwrap_or(0.0),
            rtol: json["rtol"].as_f64().unwrap_or(0.0),
            is_half: json["dtype"] == "float16",
        }
    }

    /// Of the whole, also where only a part is stored.
    pub fn full_shape(&self) -> &[usize] {
        self.part.as_ref().map_or(&self.shape, |(full, _)| full)
    }

    /// What is stored of the whole output `values`.
    fn stored_part(&self, name: &str, values: &[f32]) -> Vec<f32> {
        let Some((full, slices)) = &self.part else {
            assert_eq!(values.len(), self.shape.iter().product::<usize>(), "{name}: {:?}", self.shape);
            return values.to_vec();
        };
        assert_eq!(values.len(), full.iter().product::<usize>(), "{name}: {full:?}");
        let mut places = vec![0];
        for (size, [start, stop, step]) in full.iter().zip(slices) {
            let along: Vec<usize> = (*start..*stop).step_by(*step).collect();
            places = places.iter().flat_map(|place| along.iter().map(move |i| place * size + i)).collect();
        }
        places.into_iter().map(|place| values[place]).collect()
    }
}

/// The formula against its test vectors.
pub fn check_formula(vectors: &Path) {
    let json: Json = serde_json::from_str(&fs::read_to_string(vectors).expect("vectors")).expect("vectors");
    let cases = json["tensors"].as_array().expect("tensors");
    for case in cases {
        let (name, shape) = (text(&case["name"]), sizes(&case["shape"]));
        let spread = Spread { a: number(&case["a"]) as f32, b: number(&case["b"]) as f32, shape: shape.clone() };
        if case["default"].as_bool() == Some(true) {
            assert_eq!(Spread::default_of(name, &shape), spread, "{name}");
        }
        let values = spread.values(name, text(&case["seed"]).parse().expect("seed"));
        for (i, bits) in case["bits"].as_object().expect("bits") {
            let bits = u32::from_str_radix(text(bits), 16).expect("hex");
            assert_eq!(values[i.parse::<usize>().expect("index")].to_bits(), bits, "{name} {i}");
        }
        let sum = u64::from_str_radix(text(&case["checksum"]), 16).expect("hex");
        assert_eq!(checksum(&values), sum, "{name}");
    }
    assert!(!cases.is_empty());
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn sizes(json: &Json) -> Vec<usize> {
    json.as_array().expect("sizes").iter().map(|n| n.as_u64().expect("size") as usize).collect()
}

fn text(json: &Json) -> &str {
    json.as_str().expect("text")
}

fn number(json: &Json) -> f64 {
    json.as_f64().expect("number")
}
