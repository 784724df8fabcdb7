use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use super::{
    test_pickles::{P, archive, call, dict, ints, legacy, storage, tensor, text, zipped},
    *,
};
use crate::weights::open::Weights;

fn read(bytes: Vec<u8>) -> Result<Checkpoint> {
    Checkpoint::read(Box::new(Cursor::new(bytes)), "a.ckpt")
}

fn refusal(bytes: Vec<u8>) -> WeightsError {
    match read(bytes) {
        Ok(checkpoint) => panic!("is read as {:?}", checkpoint.tensors()),
        Err(error) => error,
    }
}

/// Folder of the shared data; says so where it is absent.
fn data() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    match folder.exists() {
        true => Some(folder),
        false => {
            println!("skipped: ../shared/data is absent");
            None
        }
    }
}

fn floats(values: impl IntoIterator<Item = u8>) -> Vec<u8> {
    values.into_iter().flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

#[test]
fn every_storage_type_is_read_from_both_containers() {
    let classes = [
        ("BoolStorage", DType::Bool),
        ("ByteStorage", DType::U8),
        ("CharStorage", DType::I8),
        ("ShortStorage", DType::I16),
        ("IntStorage", DType::I32),
        ("LongStorage", DType::I64),
        ("HalfStorage", DType::F16),
        ("BFloat16Storage", DType::BF16),
        ("FloatStorage", DType::F32),
        ("DoubleStorage", DType::F64),
    ];
    for (class, dtype) in classes {
        let bytes: Vec<u8> = (0..6 * dtype.size() as u8).collect();
        let root = dict(&[("w", tensor(storage(class, "k", 6), 0, &[2, 3], &[3, 1]))]);
        let files = [
            zipped(&root, &[("k", &bytes)], false),
            zipped(&root, &[("k", &bytes)], true),
            legacy(&root, &[("k", 6, &bytes)], true),
        ];
        for file in files {
            let mut checkpoint = read(file).unwrap();
            let found = &checkpoint.tensors()[0];
            assert_eq!((found.name.as_str(), found.dtype, &found.shape[..]), ("w", dtype, &[2, 3][..]));
            assert_eq!(checkpoint.bytes(0).unwrap(), bytes, "{class}");
        }
    }
}

#[test]
fn types_without_a_storage_class_come_as_bytes() {
    let hooks = call("collections", "OrderedDict", vec![]);
    for (name, dtype) in [("uint16", DType::U16), ("uint64", DType::U64), ("float8_e4m3fn", DType::F8E4M3)] {
        let bytes: Vec<u8> = (0..4 * dtype.size() as u8).collect();
        let untyped = storage("UntypedStorage", "0", bytes.len() as i64);
        let arguments =
            vec![untyped, P::Int(1), ints(&[3]), ints(&[1]), P::Bool(false), hooks.clone(), P::Global("torch", name)];
        let root = dict(&[("w", call("torch._utils", "_rebuild_tensor_v3", arguments))]);
        let mut checkpoint = read(zipped(&root, &[("0", &bytes)], false)).unwrap();
        assert_eq!(checkpoint.tensors()[0].dtype, dtype);
        assert_eq!(checkpoint.bytes(0).unwrap(), bytes[dtype.size()..]);
    }
}

#[test]
fn views_of_one_storage_come_out_row_major() {
    let shared = || storage("FloatStorage", "0", 12);
    let root = dict(&[
        ("whole", tensor(shared(), 0, &[3, 4], &[4, 1])),
        ("transposed", tensor(shared(), 0, &[4, 3], &[1, 4])),
        ("rows", tensor(shared(), 4, &[2, 4], &[4, 1])),
        ("column", tensor(shared(), 2, &[3, 1], &[4, 99])),
        ("scalar", tensor(shared(), 11, &[], &[])),
        ("empty", tensor(shared(), 0, &[0, 4], &[4, 1])),
        ("thrice", tensor(shared(), 5, &[3], &[0])),
    ]);
    let bytes = floats(0..12);
    let expected: [&[u8]; 7] = [
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        &[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
        &[4, 5, 6, 7, 8, 9, 10, 11],
        &[2, 6, 10],
        &[11],
        &[],
        &[5, 5, 5],
    ];
    let files = [
        zipped(&root, &[("0", &bytes)], false),
        zipped(&root, &[("0", &bytes)], true),
        legacy(&root, &[("0", 12, &bytes)], true),
    ];
    for file in files {
        let mut checkpoint = read(file).unwrap();
        for (i, expected) in expected.iter().enumerate() {
            let name = checkpoint.tensors()[i].name.clone();
            assert_eq!(checkpoint.bytes(i).unwrap(), floats(expected.iter().copied()), "{name}");
        }
    }
}

#[test]
fn parts_of_old_storages_count_from_their_part() {
    let mut parts = vec![text("storage"), P::Global("torch", "FloatStorage"), text("root"), text("cpu"), P::Int(6)];
    parts.push(P::Tuple(vec![text("part"), P::Int(2), P::Int(3)]));
    let root = dict(&[("w", tensor(P::Persistent(parts), 1, &[2], &[1]))]);
    let mut checkpoint = read(legacy(&root, &[("root", 6, &floats(0..6))], true)).unwrap();
    assert_eq!(checkpoint.bytes(0).unwrap(), floats([3, 4]));
}

#[test]
fn names_are_paths_and_optimizers_are_left_out() {
    let one = || tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]);
    let parameter = call("torch._utils", "_rebuild_parameter", vec![one(), P::Bool(true), P::None]);
    let group = dict(&[("lr", P::Int(1)), ("params", P::List(vec![P::Int(0)]))]);
    let moments = P::Dict(vec![(P::Int(0), dict(&[("exp_avg", one())]))]);
    let optimizer = dict(&[("state", moments), ("param_groups", P::List(vec![group]))]);
    let metadata = P::Raw([&b"}"[..], &dict(&[("_metadata", P::Dict(vec![]))]).pickle()[2..]].concat());
    let P::Raw(mut build) = metadata else { panic!() };
    *build.last_mut().unwrap() = b'b';
    let root = dict(&[
        ("epoch", P::Int(3)),
        ("state_dict", dict(&[("module.a", one()), ("b", dict(&[("c", parameter)]))])),
        (
            "params_ema",
            P::Call(
                Box::new(P::Global("collections", "OrderedDict")),
                vec![P::List(vec![P::Tuple(vec![text("d"), one()])])],
            ),
        ),
        ("list", P::List(vec![one(), P::None, one()])),
        ("numbers", P::Dict(vec![(P::Int(7), one())])),
        ("attributes", P::Raw(build)),
        ("optimizer", optimizer.clone()),
        ("optimizer_states", P::List(vec![optimizer])),
    ]);
    let checkpoint = read(zipped(&root, &[("0", &floats([1]))], false)).unwrap();
    let names: Vec<&str> = checkpoint.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["state_dict.module.a", "state_dict.b.c", "params_ema.d", "list.0", "list.2", "numbers.7"]);
}

#[test]
fn tensors_with_attributes_are_tensors() {
    let P::Call(function, arguments) = tensor(storage("FloatStorage", "0", 4), 1, &[3], &[1]) else { panic!() };
    let parts = vec![*function, P::Global("torch", "Tensor"), P::Tuple(arguments), dict(&[("note", P::Int(1))])];
    let root = dict(&[("w", call("torch._tensor", "_rebuild_from_type_v2", parts.clone()))]);
    let bytes = floats([1, 2, 3, 4]);
    assert_eq!(read(zipped(&root, &[("0", &bytes)], false)).unwrap().bytes(0).unwrap(), bytes[4..]);
    // Only tensor functions may be inside.
    let mut other = parts;
    other[0] = P::Global("collections", "OrderedDict");
    let root = dict(&[("w", call("torch._tensor", "_rebuild_from_type_v2", other))]);
    assert!(matches!(refusal(zipped(&root, &[("0", &bytes)], false)), WeightsError::Damaged { .. }));
}

#[test]
fn what_would_run_code_is_named() {
    let one = || tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]);
    let bytes = floats([1]);
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch.jit", "load"),
        ("torch", "load"),
        ("torch._utils", "_import_dotted_name"),
        ("runpy", "_run_code"),
        ("collections", "OrderedDict.fromkeys"),
    ] {
        let root = dict(&[("w", one()), ("x", call(module, name, vec![text("echo")]))]);
        let expected = WeightsError::RunsCode { file: "a.ckpt".to_owned(), global: format!("{module}.{name}") };
        assert_eq!(refusal(zipped(&root, &[("0", &bytes)], false)), expected);
        assert_eq!(refusal(legacy(&root, &[("0", 1, &bytes)], true)), expected);
        // The same by the other instructions that name things.
        let stacked = [
            &b"\x8c"[..],
            &[module.len() as u8],
            module.as_bytes(),
            b"\x8c",
            &[name.len() as u8],
            name.as_bytes(),
            b"\x93",
        ];
        let root = dict(&[("w", one()), ("x", P::Raw(stacked.concat()))]);
        assert_eq!(refusal(zipped(&root, &[("0", &bytes)], false)), expected);
        let root = dict(&[("x", P::Raw(format!("(i{module}\n{name}\n").into_bytes()))]);
        assert_eq!(refusal(zipped(&root, &[("0", &bytes)], false)), expected);
    }
}

#[test]
fn what_is_not_read_says_what_it_is() {
    let root = dict(&[("w", tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]))]);
    let (pickle, bytes) = (root.pickle(), floats([1]));
    let with =
        |name: &str, content: &[u8]| archive(&[("m/data.pkl", &pickle), ("m/data/0", &bytes), (name, content)], false);
    let quantised = dict(&[("w", tensor(storage("QInt8Storage", "0", 4), 0, &[4], &[1]))]);
    let complex = dict(&[("w", tensor(storage("ComplexFloatStorage", "0", 4), 0, &[4], &[1]))]);
    for (file, expected) in [
        (with("m/constants.pkl", b"x"), "a TorchScript archive"),
        (with("m/code/__torch__.py", b"x"), "a TorchScript archive"),
        (with("m/byteorder", b"big"), "big-endian"),
        (legacy(&root, &[("0", 1, &bytes)], false), "big-endian"),
        (with("n/data.pkl", b"x"), "several checkpoints"),
        (archive(&[("a.npy", b"x")], false), "a zip archive without `data.pkl`"),
        (zipped(&quantised, &[("0", &bytes)], false), "QInt8Storage"),
        (zipped(&complex, &[("0", &bytes)], false), "ComplexFloatStorage"),
        (P::List(vec![]).pickle(), "a pickle that is no checkpoint"),
        (zipped(&dict(&[("epoch", P::Int(1))]), &[], false), "no tensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(), "a Git LFS pointer"),
        (b"\n\n<!DOCTYPE html><html></html>".to_vec(), "a web page"),
        (b"\x10\0\0\0\0\0\0\0{}              ".to_vec(), "safetensors under the name of a checkpoint"),
    ] {
        let error = refusal(file);
        assert!(matches!(error, WeightsError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} does not say {expected}");
        assert!(!error.hint().is_empty());
    }
    assert!(matches!(refusal(Vec::new()), WeightsError::Truncated { .. }));
    assert!(matches!(refusal(b"GIF89a".to_vec()), WeightsError::Damaged { .. }));
}

#[test]
fn tensors_that_their_storage_cannot_hold_are_refused() {
    let bytes = floats(0..4);
    let cases: [(i64, &[i64], &[i64]); 7] = [
        (0, &[5], &[1]),
        (1, &[4], &[1]),
        (0, &[2, 2], &[3, 1]),
        (0, &[1_000_000_000_000], &[0]),
        (0, &[i64::MAX, i64::MAX], &[i64::MAX, i64::MAX]),
        (-1, &[1], &[1]),
        (0, &[2], &[1, 1]),
    ];
    for (offset, shape, strides) in cases {
        let root = dict(&[("w", tensor(storage("FloatStorage", "0", 4), offset, shape, strides))]);
        let error = refusal(zipped(&root, &[("0", &bytes)], false));
        assert!(matches!(error, WeightsError::Damaged { .. }), "{offset} {shape:?} {strides:?}: {error:?}");
    }
    let huge = dict(&[("w", tensor(storage("FloatStorage", "0", 1 << 40), 0, &[1 << 40], &[1]))]);
    assert!(matches!(refusal(zipped(&huge, &[("0", &bytes)], false)), WeightsError::Damaged { .. }));
    assert!(matches!(refusal(legacy(&huge, &[("0", 1 << 40, &bytes)], true)), WeightsError::Truncated { .. }));
}

/// The same archive with the sizes and places that take 64 bits written so.
fn as_zip64(file: &[u8]) -> Vec<u8> {
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u16_at = |bytes: &[u8], at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let end = file.len() - 22;
    let (n_entries, from) = (u16_at(file, end + 10) as u64, u32_at(file, end + 16) as usize);
    let (mut out, mut rest) = (file[..from].to_vec(), &file[from..end]);
    while !rest.is_empty() {
        let len = 46 + u16_at(rest, 28);
        let mut entry = rest[..len].to_vec();
        let mut extra = vec![0x0a, 0, 4, 0, 9, 9, 9, 9, 1, 0, 24, 0]; // another field first
        for at in [24, 20, 42] {
            extra.extend(u64::from(u32_at(&entry, at)).to_le_bytes());
            entry[at..at + 4].fill(0xff);
        }
        entry[30] = extra.len() as u8;
        out.extend([entry, extra].concat());
        rest = &rest[len..];
    }
    let (n_bytes, record_at) = ((out.len() - from) as u64, out.len() as u64);
    out.extend(b"PK\x06\x06");
    out.extend(44_u64.to_le_bytes());
    out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    [n_entries, n_entries, n_bytes, from as u64].iter().for_each(|value| out.extend(value.to_le_bytes()));
    out.extend(b"PK\x06\x07\0\0\0\0");
    out.extend(record_at.to_le_bytes());
    out.extend([1, 0, 0, 0]);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([0xff; 12]);
    out.extend([0, 0]);
    out
}

#[test]
fn archives_with_64_bit_sizes_are_read() {
    let root = dict(&[("w", tensor(storage("FloatStorage", "0", 4), 0, &[4], &[1]))]);
    let bytes = floats([1, 2, 3, 4]);
    let file = as_zip64(&zipped(&root, &[("0", &bytes)], false));
    assert_eq!(read(file.clone()).unwrap().bytes(0).unwrap(), bytes);
    let mut cut = file;
    let at = cut.len() - 22 - 20 + 8;
    cut[at..at + 8].fill(0xff); // the record lies nowhere
    assert!(matches!(refusal(cut), WeightsError::Damaged { .. }));
}

#[test]
fn a_flipped_bit_of_a_value_is_noticed() {
    let root = dict(&[("w", tensor(storage("FloatStorage", "0", 4), 0, &[4], &[1]))]);
    let bytes = floats([11, 22, 33, 44]);
    for deflate in [false, true] {
        let mut file = zipped(&root, &[("0", &bytes)], deflate);
        let name = b"archive/data/0";
        let at = file.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 2;
        file[at] ^= 1;
        let mut checkpoint = read(file).unwrap();
        let error = checkpoint.bytes(0).unwrap_err();
        assert!(matches!(error, WeightsError::Damaged { .. } | WeightsError::Truncated { .. }), "{error:?}");
    }
}

/// One line of TENSORS.txt: name, type, shape, how often.
type Line = (String, String, String, usize);

fn listed(text: &str) -> BTreeMap<String, (String, Vec<Line>)> {
    let mut files = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        let mut lines = section.lines();
        let (name, kind) = (lines.next().unwrap(), lines.next().unwrap_or_default());
        let tensors = lines.filter(|line| !line.is_empty()).filter_map(|line| {
            let (line, n) = match line.trim().rsplit_once("  x") {
                Some((line, n)) => (line, n.parse().unwrap()),
                None => (line.trim(), 1),
            };
            let (name, rest) = line.split_once("  ")?;
            let (dtype, shape) = rest.split_once(' ')?;
            Some((name.to_owned(), dtype.to_owned(), shape.to_owned(), n))
        });
        files.insert(name.to_owned(), (kind.trim().to_owned(), tensors.collect()));
    }
    files
}

/// How the list writes numbers in long files: digits after a dot, an
/// underscore or another digit are one `N`.
fn with_n(name: &str) -> String {
    let mut out = String::new();
    let mut last = 'a';
    for c in name.chars() {
        let starts = matches!(last, '.' | '_') || last.is_ascii_digit();
        match c.is_ascii_digit() && starts {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(c),
        }
        last = c;
    }
    out
}

fn pickles(folder: &Path) -> Vec<(String, Vec<Line>)> {
    let list = fs::read_to_string(folder.join("weights/TENSORS.txt")).unwrap();
    let found = listed(&list).into_iter().filter_map(|(name, (kind, lines))| {
        let is_pickle = kind.starts_with("torch zip, ") || kind.starts_with("torch legacy pickle");
        (is_pickle && folder.join(&name).exists()).then_some((name, lines))
    });
    found.collect()
}

#[test]
fn real_checkpoints_hold_what_their_list_says() {
    let Some(folder) = data() else { return };
    let pickles = pickles(&folder);
    assert!(pickles.len() >= 18, "{} of the checkpoints are there", pickles.len());
    for (name, lines) in pickles {
        let checkpoint = Checkpoint::open(&folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = |lines: Vec<Line>| {
            let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
            lines.into_iter().for_each(|(name, dtype, shape, n)| *counts.entry((name, dtype, shape)).or_default() += n);
            counts
        };
        let abbreviated = lines.iter().any(|(tensor, ..)| tensor.split('.').any(|part| part == "N"));
        let found = checkpoint.tensors().iter().map(|tensor| {
            let name = if abbreviated { with_n(&tensor.name) } else { tensor.name.clone() };
            (name, tensor.dtype.name().to_owned(), format!("{:?}", tensor.shape), 1)
        });
        let expected = lines.into_iter().filter(|(tensor, ..)| !tensor.starts_with("optimizer"));
        let (found, expected) = (count(found.collect()), count(expected.collect()));
        let other = found.iter().find(|(tensor, n)| expected.get(*tensor) != Some(n));
        assert_eq!(other, None, "{name} should not have this");
        assert_eq!(found.len(), expected.len(), "{name}");
    }
}

#[test]
fn real_values_are_those_another_reader_found() {
    let Some(folder) = data() else { return };
    let (mut n_files, mut n_tensors) = (0, 0);
    for (name, _) in pickles(&folder) {
        let derived = folder.join(&name).with_extension("").with_extension("safetensors");
        if !derived.exists() {
            continue;
        }
        let weights = Weights::open(&derived).unwrap();
        let mut checkpoint = Checkpoint::open(&folder.join(&name)).unwrap();
        let mut seen = 0;
        for i in 0..checkpoint.tensors().len() {
            let tensor = checkpoint.tensors()[i].clone();
            let mut key = tensor.name.replace("model_coarse_state_dict.", "coarse.");
            key = key.replace("model_fine_state_dict.", "fine.");
            for wrapper in ["params.", "model.module.", "state_dict.module.", "state_dict."] {
                key = key.strip_prefix(wrapper).unwrap_or(&key).to_owned();
            }
            let Ok(view) = weights.get(&key) else { continue };
            assert_eq!(view.dtype, tensor.dtype, "{name} {key}");
            // The other reader wrote some numbers as lists of one.
            let shape = if view.shape == [1] && tensor.shape.is_empty() { &[] } else { view.shape };
            assert_eq!(shape, &tensor.shape[..], "{name} {key}");
            assert!(checkpoint.bytes(i).unwrap() == view.data, "{name}: `{key}` has other values");
            seen += 1;
        }
        assert_eq!(seen, weights.names().count(), "{name}");
        (n_files, n_tensors) = (n_files + 1, n_tensors + seen);
    }
    println!("{n_files} files, {n_tensors} tensors, every byte equal");
    assert!(n_files >= 16);
}

#[test]
fn damaged_files_and_programs_are_refused() {
    let Some(folder) = data() else { return };
    let error = |name| Checkpoint::open(&folder.join(name)).err().unwrap();
    let page = error("copyleft/vae_approx_sd1.corrupt.pt");
    assert!(page.to_string().contains("a web page"), "{page}");
    let script = error("weights/mvs/patchmatchnet_module.pt");
    assert!(script.to_string().contains("TorchScript"), "{script}");
    let arrays = error("copyleft/detect_seamless.npz");
    assert!(arrays.to_string().contains("without `data.pkl`"), "{arrays}");
}
