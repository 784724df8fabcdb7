use super::*;

const SAMPLE: &str = r#"
# a network's sizes
cond_image_size: 512
image_tokenizer_cls: some.module.Tokenizer
image_tokenizer:
  pretrained_model_name_or_path: "org/name"
tokenizer:
  plane_size: 32
  num_channels: 1024
backbone:
  in_channels: ${tokenizer.num_channels}
  dropout: 0.0
  eps: 1e-6
decoder: {n_neurons: 64, activation: silu, bias: true, sizes: [1, 2, 3]}
renderer:
  radius: 0.87   # metres
  density_bias: -1.0
  none: ~
  again: ${backbone.in_channels}
loop: ${loop}
gone: ${nowhere.at.all}
inf: inf
big: 99999999999999999999
hex: 0x10
quoted: "512"
"#;

fn sample() -> Tree {
    Tree::parse(SAMPLE, "config.yaml").unwrap()
}

#[test]
fn values_are_found_by_their_path_and_have_types() {
    let tree = sample();
    assert_eq!(tree.usize("cond_image_size").unwrap(), 512);
    assert_eq!(tree.text("image_tokenizer.pretrained_model_name_or_path").unwrap(), "org/name");
    assert_eq!(tree.f64("renderer.radius").unwrap(), 0.87);
    assert_eq!(tree.f64("renderer.density_bias").unwrap(), -1.0);
    assert_eq!(tree.f64("backbone.eps").unwrap(), 1e-6);
    assert_eq!(tree.f64("tokenizer.plane_size").unwrap(), 32.0);
    assert!(tree.bool("decoder.bias").unwrap());
    assert_eq!(tree.usize("decoder.sizes.2").unwrap(), 3);
    assert_eq!(tree.get("renderer.none"), Some(&Node::Null));
    assert_eq!(tree.text("inf").unwrap(), "inf");
    assert_eq!(tree.text("big").unwrap(), "99999999999999999999");
    assert_eq!(tree.usize("hex").unwrap(), 16);
    assert_eq!(tree.text("quoted").unwrap(), "512");
}

#[test]
fn references_are_followed_and_never_for_ever() {
    let tree = sample();
    assert_eq!(tree.usize("backbone.in_channels").unwrap(), 1024);
    assert_eq!(tree.usize("renderer.again").unwrap(), 1024);
    assert_eq!(tree.get("loop"), None);
    assert_eq!(tree.get("gone"), None);
}

#[test]
fn what_is_missing_or_of_another_type_is_named() {
    let error = sample().usize("decoder.activation").unwrap_err().to_string();
    assert_eq!(error, "config.yaml: `decoder.activation` should be a whole number from 0, is `silu`");
    let error = sample().usize("decoder.depth").unwrap_err().to_string();
    assert_eq!(error, "config.yaml: `decoder.depth` should be a whole number from 0, is not there");
    assert!(sample().usize("renderer.density_bias").is_err());
}

#[test]
fn what_could_grow_or_mean_something_else_is_refused() {
    let deep = "[".repeat(40) + &"]".repeat(40);
    for text in ["a: &x 1", "a: *x", "a: !!python/object:os.system x", "a: 1\na: 2", "a: 1\n---\nb: 2", "a: [1", &deep]
    {
        assert!(Tree::parse(text, "config.yaml").is_err(), "{text} is read");
    }
    let many: String = (0..5000).map(|i| format!("k{i}: 1\n")).collect();
    assert!(Tree::parse(&many, "config.yaml").is_err());
    assert_eq!(Tree::parse("", "config.yaml").unwrap().root(), &Node::Null);
}

#[test]
fn published_configurations_are_read() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/weights/nerf"));
    if !folder.exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    let tree = Tree::open(&folder.join("lego-lowres.config.yml")).unwrap();
    assert_eq!(tree.usize("models.coarse.num_layers").unwrap(), 8);
    assert_eq!(tree.f64("optimizer.lr").unwrap(), 5e-3);
    assert!(tree.bool("dataset.half_res").unwrap());
}

#[test]
fn altered_configurations_never_break_the_reader() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..128),
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, b"{}[]:-&*!|>'\"%@`#, \n\t"[random.usize(..21)]),
            }
        }
        if let Ok(tree) = Tree::parse(&String::from_utf8_lossy(&bytes), "config.yaml") {
            let _ = tree.usize("backbone.in_channels");
        }
    }
}
