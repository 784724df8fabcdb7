//! Fixtures of kind `mobilesam` and `sam`: from pictures and prompts to masks.

use std::{cell::RefCell, collections::HashMap};

use image::RgbImage;
use meshkiln_models::nets::{
    Compute, Vars, Watch,
    blocks::{to_host, transposed},
    sam::{Config, Embedding, Frame, Masks, Point, Prompt, Sam, Wanted},
};
use serde_json::Value as Json;

use crate::fixture::{Comparison, Fixture};

/// Everything within the fixture's own tolerance.
pub fn compare(fixture: &Fixture, compute: &Compute) -> Vec<Comparison> {
    fixture.check_weights();
    let values = values(fixture, compute);
    fixture.outputs.keys().map(|name| fixture.compare(name, &values[name])).collect()
}

/// All outputs by name, each as a whole.
fn values(fixture: &Fixture, compute: &Compute) -> HashMap<String, Vec<f32>> {
    let config = Config::from_tree(&fixture.config, Config::mobile()).expect("configuration");
    let weights = fixture.weights();
    let net = Sam::new(config, &Vars::new(&weights, compute)).expect("network");
    let seen = RefCell::new(HashMap::new());
    note(fixture, &seen, "dense_pe", &net.positions);

    let prompts = fixture.config["prompts"].as_array().expect("prompts");
    let mut embeddings = HashMap::new();
    let mut answers: HashMap<&str, Masks> = HashMap::new();
    for prompt in prompts {
        let (name, image) = (text(&prompt["name"]), text(&prompt["image"]));
        let embedding = embeddings.entry(image).or_insert_with(|| embed(fixture, &net, image, &seen));
        let asked = Prompt {
            points: points(prompt),
            frame: frame(prompt),
            mask: prompt["mask_from"].as_array().map(|from| {
                let (of, index) = (text(&from[0]), from[1].as_u64().expect("index") as usize);
                answers[of].logits[index].clone()
            }),
        };
        let wanted = if prompt["multimask"] == true { Wanted::Three } else { Wanted::One };
        let tap = |what: &str, value: &candle_core::Tensor| note(fixture, &seen, &format!("{name}.{what}"), value);
        let masks = net.masks(embedding, &asked, wanted, &Watch { tap: Some(&tap), ..Watch::nobody() }).expect("masks");
        let mut seen = seen.borrow_mut();
        seen.insert(format!("{name}.iou"), masks.iou.clone());
        seen.insert(format!("{name}.low_res"), masks.logits.concat());
        seen.insert(format!("{name}.mask"), mask(fixture, name, embedding, &masks));
        answers.insert(name, masks);
    }
    seen.into_inner()
}

fn embed(fixture: &Fixture, net: &Sam, image: &str, seen: &RefCell<HashMap<String, Vec<f32>>>) -> Embedding {
    let (shape, pixels) = fixture.input_bytes(image);
    let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).expect("picture");
    let tap = |what: &str, value: &candle_core::Tensor| note(fixture, seen, &format!("{image}.{what}"), value);
    let steps = RefCell::new(Vec::new());
    let step = |done: u32, total: u32| {
        steps.borrow_mut().push((done, total));
        Ok(())
    };
    let embedding = net.embed(&picture, &Watch { step: &step, tap: Some(&tap) }).expect("embedding");
    let total = net.config.n_steps();
    assert_eq!(steps.into_inner(), (0..=total).map(|done| (done, total)).collect::<Vec<_>>());
    let resized = embedding.fit.resized(&picture).into_raw();
    seen.borrow_mut().insert(format!("{image}.resized"), resized.into_iter().map(f32::from).collect());
    embedding
}

/// Keeps what the fixture knows, in its order of axes: channels first in pictures of features.
fn note(fixture: &Fixture, seen: &RefCell<HashMap<String, Vec<f32>>>, name: &str, value: &candle_core::Tensor) {
    let Some(output) = fixture.outputs.get(name) else { return };
    let values = to_host(value).expect("values");
    let len = output.full_shape().iter().product();
    let values = match output.full_shape() {
        [channels, _, _] => transposed(&values, *channels),
        // Of attention the first window is stored.
        _ => values[..len].to_vec(),
    };
    seen.borrow_mut().insert(name.to_owned(), values);
}

/// The mask of the highest predicted quality. Where its logit is nearly 0 either answer is right.
fn mask(fixture: &Fixture, name: &str, embedding: &Embedding, masks: &Masks) -> Vec<f32> {
    let fit = embedding.fit;
    let logits = fit.enlarged(&masks.logits[masks.best()], masks.side, fit.width, fit.height);
    let (_, golden) = fixture.golden(&format!("{name}.mask"));
    let doubt = fixture.outputs[&format!("{name}.low_res")].atol as f32;
    let in_doubt = logits.data.iter().filter(|logit| logit.abs() <= doubt).count();
    assert!(in_doubt * 1000 <= logits.data.len(), "{name}: {in_doubt} pixels are in doubt");
    let decided =
        |(logit, golden): (&f32, f32)| if logit.abs() <= doubt { golden } else { f32::from(u8::from(*logit > 0.0)) };
    logits.data.iter().zip(golden).map(decided).collect()
}

fn points(prompt: &Json) -> Vec<Point> {
    let (Some(points), Some(labels)) = (prompt["points"].as_array(), prompt["labels"].as_array()) else {
        return Vec::new();
    };
    let point = |(at, label): (&Json, &Json)| Point { x: number(&at[0]), y: number(&at[1]), is_object: *label == 1 };
    points.iter().zip(labels).map(point).collect()
}

fn frame(prompt: &Json) -> Option<Frame> {
    let corners = prompt["box"].as_array()?;
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|i| number(&corners[i]));
    Some(Frame { left, top, right, bottom })
}

fn text(json: &Json) -> &str {
    json.as_str().expect("text")
}

fn number(json: &Json) -> f32 {
    json.as_f64().expect("number") as f32
}
