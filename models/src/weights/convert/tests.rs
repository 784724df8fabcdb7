use std::fs;

use super::*;
use crate::weights::{
    dtype::DType,
    pickle::test_pickles::{P, dict, storage, tensor, zipped},
};

fn checkpoint() -> Vec<u8> {
    let bytes: Vec<u8> = (0..24).collect();
    let root: P = dict(&[
        ("byte", tensor(storage("ByteStorage", "b", 3), 0, &[3], &[1])),
        ("turned", tensor(storage("FloatStorage", "f", 6), 0, &[3, 2], &[1, 3])),
        ("half", tensor(storage("HalfStorage", "h", 1), 0, &[], &[])),
        ("long", tensor(storage("LongStorage", "l", 1), 0, &[1], &[1])),
    ]);
    zipped(&root, &[("b", &bytes[..3]), ("f", &bytes), ("h", &bytes[..2]), ("l", &bytes[..8])], true)
}

#[test]
fn values_and_shapes_survive_and_every_tensor_is_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("m.ckpt"), folder.path().join("m.safetensors"));
    fs::write(&source, checkpoint()).unwrap();
    let mut heard = Vec::new();
    let cancel = CancelToken::default();
    let sum = convert(&source, "aa", &target, &cancel, &mut |done, all| heard.push((done, all))).unwrap();
    assert_eq!(sum, Some(digest::of_file(&target, &cancel).unwrap()));
    assert_eq!((heard.first(), heard.last()), (Some(&(0, 37)), Some(&(37, 37))));
    let weights = Weights::open(&target).unwrap();
    let turned = weights.get("turned").unwrap();
    assert_eq!((turned.dtype, turned.shape), (DType::F32, &[3, 2][..]));
    assert_eq!(turned.data[..8], [0, 1, 2, 3, 12, 13, 14, 15]);
    assert_eq!(weights.get("byte").unwrap().data, [0, 1, 2]);
    assert_eq!(weights.get("half").unwrap().shape, [0_usize; 0]);
    for name in weights.names() {
        let view = weights.get(name).unwrap();
        assert_eq!(view.data.as_ptr() as usize % view.dtype.size(), 0, "{name}");
    }
}

#[test]
fn a_source_is_converted_once_and_a_changed_one_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("m.ckpt"), folder.path().join("m.safetensors"));
    fs::write(&source, checkpoint()).unwrap();
    let convert = |sha| convert(&source, sha, &target, &CancelToken::default(), &mut |_, _| {}).unwrap().is_some();
    assert!(convert("aa"));
    assert!(!convert("aa"));
    assert!(convert("bb"));
    fs::write(&target, "damaged").unwrap();
    assert!(convert("bb"));
}

#[test]
fn nothing_is_left_of_a_conversion_that_fails_or_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("m.ckpt"), folder.path().join("m.safetensors"));
    let cancelled = CancelToken::default();
    cancelled.cancel();
    fs::write(&source, checkpoint()).unwrap();
    let error = convert(&source, "aa", &target, &cancelled, &mut |_, _| {}).unwrap_err();
    assert_eq!(error, WeightsError::Cancelled);
    let mut damaged = checkpoint();
    let name = b"archive/data/f";
    let at = damaged.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 3;
    damaged[at] ^= 4;
    fs::write(&source, damaged).unwrap();
    assert!(convert(&source, "aa", &target, &CancelToken::default(), &mut |_, _| {}).is_err());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["m.ckpt"]);
}

#[test]
fn real_checkpoints_come_out_as_another_writer_wrote_them() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/weights"));
    if !data.exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.safetensors");
    for name in ["vae/taef2_decoder.pth", "face3d/blazeface_landmark.pth"] {
        let source = data.join(name);
        convert(&source, name, &target, &CancelToken::default(), &mut |_, _| {}).unwrap();
        let (ours, theirs) =
            (Weights::open(&target).unwrap(), Weights::open(&source.with_extension("safetensors")).unwrap());
        assert!(ours.names().eq(theirs.names()), "{name}");
        for key in theirs.names() {
            assert!(ours.get(key).unwrap() == theirs.get(key).unwrap(), "{name}: `{key}`");
        }
    }
}
