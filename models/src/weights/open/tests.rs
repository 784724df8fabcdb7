use super::*;

fn file(header: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..n_data).map(|i| i as u8));
    bytes
}

const TWO: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"__metadata__":{"k":"v"}}"#;

#[test]
fn tensors_are_handed_out_as_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    std::fs::write(&path, file(TWO, 9)).unwrap();
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    let view = weights.get("a").unwrap();
    assert_eq!((view.dtype, view.shape, view.data), (DType::F32, &[2][..], &[0, 1, 2, 3, 4, 5, 6, 7][..]));
    assert_eq!(weights.get_shaped("b", &[]).unwrap().data, [8]);
    assert_eq!(weights.metadata()["k"], "v");
    let error = weights.get_shaped("a", &[2, 1]).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: `a` should be [2, 1], is [2]", path.display()));
    let error = weights.require(["a", "c", "d", "b", "e", "f"]).unwrap_err();
    assert_eq!(error.to_string(), format!("{} lacks 4 tensors, among them c, d, e", path.display()));
    assert!(weights.require(["a", "b"]).is_ok());
}

#[test]
fn headers_that_contradict_the_file_are_refused() {
    let entry = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |entry: String| format!(r#"{{"a":{entry}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    for (bytes, expected) in [
        (vec![1, 2, 3], "are no header"),
        (file(TWO, 8), "`b` ends at byte 9 of 8"),
        (file(TWO, 10), "the tensors have 9 bytes, the file has 10"),
        (file("{", 0), "the header: EOF"),
        (file("[]", 0), "a dictionary of tensors"),
        (file(&one(entry("F4", "[1]", 0, 4)), 4), "of a known type, is `F4`"),
        (file(&one(entry("F32", "[3]", 0, 8)), 8), "12 bytes for F32 [3], is 0..8"),
        (file(&one(entry("F32", "[4294967296,4294967296]", 0, 8)), 8), "more than 2^64"),
        (file(&one(entry("F32", "[2]", 18446744073709551612, 4)), 8), "8 bytes for F32 [2]"),
        (file(&one(entry("F32", "[-2]", 0, 8)), 8), "the header"),
        (
            file(&two(entry("U8", "[2]", 0, 2), entry("U8", "[2]", 1, 3)), 3),
            "after byte 2 of the data, the next tensor starts at 1",
        ),
        (
            file(&two(entry("U8", "[2]", 0, 2), entry("U8", "[2]", 3, 5)), 5),
            "after byte 2 of the data, the next tensor starts at 3",
        ),
        (file(&two(entry("U8", "[1]", 0, 1), entry("U8", "[1]", 1, 2)).replace("\"b\"", "\"a\""), 2), "has `a` twice"),
        (file(r#"{"__metadata__":{"a":1}}"#, 0), "the header"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "over the limit"),
        ([&1000_u64.to_le_bytes()[..], b"{}"].concat(), "the header has 1000 bytes, 2 are there"),
    ] {
        let error = Header::parse(&bytes, "a.safetensors").unwrap_err().to_string();
        assert!(error.starts_with("a.safetensors") && error.contains(expected), "{error} does not say {expected}");
    }
}

#[test]
fn files_of_other_writers_are_read() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/weights"));
    if !folder.exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    for (name, n) in [("vae/taef2_decoder.safetensors", 79), ("splat/basic_case.safetensors", 6)] {
        let weights = Weights::open(&folder.join(name)).unwrap();
        assert_eq!(weights.names().count(), n, "{name}");
    }
}
