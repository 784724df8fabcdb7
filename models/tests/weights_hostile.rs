//! Altered checkpoints and safetensors: an error or tensors that keep their
//! promises, never a panic, and no header that makes anybody allocate.

#![allow(clippy::unwrap_used)] // all of it is test

#[path = "../src/weights/pickle/test_pickles.rs"]
#[allow(dead_code)]
mod test_pickles;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::Cursor,
    path::Path,
};

use meshkiln_models::weights::{Result, open::Weights, pickle::Checkpoint};
use test_pickles::{P, call, dict, legacy, storage, tensor, text, zipped};

/// Largest single allocation that a header may cause.
const LIMIT: usize = 100 << 20;

/// The system's allocator, which remembers the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(n: usize) {
    // A thread that is ending has no cell any more, and nothing to note.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(n)));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, n: usize) -> *mut u8 {
        note(n);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, n) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Everything in a checkpoint, as long as it is not more than a file of this size can mean.
fn read_all(bytes: Vec<u8>) -> Result<u64> {
    let mut checkpoint = Checkpoint::read(Box::new(Cursor::new(bytes)), "a.ckpt")?;
    let mut total = 0;
    for i in 0..checkpoint.tensors().len() {
        let expected = checkpoint.tensors()[i].n_bytes();
        let mut n = 0;
        checkpoint.stream(i, &mut |chunk| {
            n += chunk.len() as u64;
            Ok(())
        })?;
        assert_eq!(n, expected);
        total += n;
    }
    Ok(total)
}

/// A state dict with everything that is read: nesting, views, an optimizer, metadata.
fn root() -> P {
    let shared = || storage("FloatStorage", "0", 12);
    let parameter =
        call("torch._utils", "_rebuild_parameter", vec![tensor(shared(), 0, &[3, 4], &[4, 1]), P::Bool(true), P::None]);
    let moments = P::Dict(vec![(P::Int(0), dict(&[("exp_avg", tensor(shared(), 0, &[12], &[1]))]))]);
    dict(&[
        ("epoch", P::Int(3)),
        ("state_dict", dict(&[("module.a", parameter), ("b", tensor(shared(), 1, &[4, 2], &[1, 4]))])),
        ("half", tensor(storage("HalfStorage", "1", 4), 0, &[2, 2], &[2, 1])),
        ("pairs", call("collections", "OrderedDict", vec![P::List(vec![P::Tuple(vec![text("d"), P::Int(1)])])])),
        ("optimizer", dict(&[("state", moments), ("param_groups", P::List(vec![]))])),
    ])
}

/// Changes a few places: bits, sizes that mean a lot, cuts, repeats.
fn alter(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..8) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, b"(t)]}NRQbcqhXK.us0\x80\x85\x88\x8a\x8b\x8c\x8d\x93\x94"[random.usize(..27)]),
            4 => drop(bytes.remove(at)),
            5 => {
                let n = [2, 4, 8][random.usize(..3)].min(bytes.len() - at);
                let value: u64 =
                    [u64::MAX, i64::MAX as u64, u64::from(u32::MAX), 1 << 31, 1 << 40, 0xffff][random.usize(..6)];
                bytes[at..at + n].copy_from_slice(&value.to_le_bytes()[..n]);
            }
            6 => {
                let to = (at + random.usize(1..40)).min(bytes.len());
                let copy = bytes[at..to].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let n = random.usize(1..20).min(bytes.len() - at);
                let from = random.usize(..=bytes.len() - n);
                bytes.copy_within(from..from + n, at);
            }
        }
    }
}

/// Runs `n` altered inputs and says how they ended.
fn survive(what: &str, n: u32, mut attempt: impl FnMut(&mut fastrand::Rng) -> bool) {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    LARGEST.set(0);
    let n_read = (0..n).filter(|_| attempt(&mut random)).count();
    let largest = LARGEST.get();
    println!("{what}: {n} altered, {n_read} still read, largest allocation {} KiB", largest >> 10);
    assert!(largest <= LIMIT, "{what}: {largest} bytes at once");
    assert!(n_read < n as usize, "{what}: nothing was altered");
}

#[test]
fn a_hundred_thousand_altered_checkpoints() {
    let (f, h) = (vec![7; 48], vec![9; 8]);
    let root = root();
    let storages: &[(&str, &[u8])] = &[("0", &f), ("1", &h)];
    let files = [
        zipped(&root, storages, false),
        zipped(&root, storages, true),
        legacy(&root, &[("0", 12, &f), ("1", 4, &h)], true),
    ];
    for file in &files {
        assert_eq!(read_all(file.clone()).unwrap(), 48 + 32 + 8);
    }
    survive("containers", 40_000, |random| {
        let mut file = files[random.usize(..3)].clone();
        alter(&mut file, random);
        read_all(file).is_ok()
    });
    // Behind a sound container, so that the alteration reaches the machine.
    let pickle = root.pickle();
    survive("pickles", 60_000, |random| {
        let mut inner = pickle[2..pickle.len() - 1].to_vec();
        alter(&mut inner, random);
        let root = P::Raw(inner);
        let file = match random.bool() {
            true => zipped(&root, storages, false),
            false => legacy(&root, &[("0", 12, &f), ("1", 4, &h)], true),
        };
        read_all(file).is_ok()
    });
}

#[test]
fn a_hundred_thousand_altered_safetensors() {
    let header = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([5; 40]);
    let open = |bytes: Vec<u8>| {
        let Ok(weights) = Weights::from_bytes(bytes, Path::new("a.safetensors")) else { return false };
        for name in weights.names() {
            let view = weights.get(name).unwrap();
            assert_eq!(view.data.len() as u64, view.dtype.bytes_of(view.shape).unwrap());
            view.data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        }
        true
    };
    assert!(open(file.clone()));
    survive("safetensors", 100_000, |random| {
        let mut bytes = file.clone();
        match random.u8(..4) {
            // Numbers in the text, where a flipped bit would only break the JSON.
            0 => {
                let text = header.replace("24", &random.u64(..).to_string());
                bytes.splice(8..8 + header.len(), text.bytes());
                bytes[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
            }
            1 => bytes[random.usize(..8)] = random.u8(..),
            _ => alter(&mut bytes, random),
        }
        open(bytes)
    });
}

/// Small files that claim to be large.
#[test]
fn bombs_are_refused_before_they_unpack() {
    let zeros = vec![0; 80 << 20];
    let root = dict(&[("w", tensor(storage("ByteStorage", "0", 80 << 20), 0, &[80 << 20], &[1]))]);
    let bomb = zipped(&root, &[("0", &zeros)], true);
    assert!(bomb.len() < 1 << 20);
    LARGEST.set(0);
    let error = read_all(bomb).unwrap_err().to_string();
    assert!(error.contains("the unpacked size of entry `archive/data/0` is 83886080, over the limit"), "{error}");
    // One dictionary in itself twice over, thirty levels deep: 2^30 paths to one tensor.
    let mut laughs = vec![b'}'];
    let P::Raw(inner) = P::Raw(tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]).pickle()) else { panic!() };
    laughs.extend([b'q', 0, b'X', 1, 0, 0, 0, b'w']);
    laughs.extend(&inner[2..inner.len() - 1]);
    laughs.push(b's');
    for level in 1..31 {
        laughs.extend([b'}', b'q', level]);
        for key in *b"ab" {
            laughs.extend([b'X', 1, 0, 0, 0, key, b'h', level - 1, b's']);
        }
    }
    let error = read_all(zipped(&P::Raw(laughs), &[("0", &[0; 4])], false)).unwrap_err().to_string();
    assert!(error.contains("the number of") && error.contains("over the limit"), "{error}");
    // A dictionary that holds itself.
    let own = b"}q\0X\x01\0\0\0ah\0s".to_vec();
    let error = read_all(zipped(&P::Raw(own), &[], false)).unwrap_err().to_string();
    assert!(error.contains("the depth of dictionaries"), "{error}");
    // More values than any network has.
    let many = [&b"("[..], &vec![b'N'; 3_000_000], b"t"].concat();
    let error = read_all(zipped(&P::Raw(many), &[], false)).unwrap_err().to_string();
    assert!(error.contains("the number of values"), "{error}");
    assert!(LARGEST.get() <= LIMIT, "{} bytes at once", LARGEST.get());
}
