//! The digest that proves that a file is as we wrote it: SHA-256 over the whole
//! file with the digest's own digits as zeros.
//!
//! GLB and PNG have seals of their own kind; ZIP, PLY and STL use this one.

use crate::slot::sha256_hex;

/// Stands where the digest will be, and names it to a reader.
pub const UNSEALED: &str = "sha256=0000000000000000000000000000000000000000000000000000000000000000";

const KEY_LENGTH: usize = "sha256=".len();
const DIGITS: usize = UNSEALED.len() - KEY_LENGTH;

/// Puts the digest into `bytes`, which hold `UNSEALED` at `at`.
pub fn seal(bytes: &mut [u8], at: usize) {
    let digest = sha256_hex(bytes);
    bytes[at + KEY_LENGTH..at + UNSEALED.len()].copy_from_slice(digest.as_bytes());
}

/// Does a seal begin at `at`, and is it true?
pub fn is_sealed(bytes: &[u8], at: usize) -> bool {
    let Some(end) = at.checked_add(UNSEALED.len()) else { return false };
    let Some(stated) = bytes.get(at..end).and_then(|text| text.strip_prefix(&UNSEALED.as_bytes()[..KEY_LENGTH])) else {
        return false;
    };
    use sha2::{Digest, Sha256};
    let digits = at + KEY_LENGTH;
    let digest = Sha256::new().chain_update(&bytes[..digits]).chain_update([b'0'; DIGITS]).chain_update(&bytes[end..]);
    crate::slot::hex(&digest.finalize()).as_bytes() == stated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_breaks_the_seal() {
        let mut bytes = format!("before {UNSEALED} after").into_bytes();
        assert!(!is_sealed(&bytes, 7));
        seal(&mut bytes, 7);
        assert!(is_sealed(&bytes, 7));
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert!(!is_sealed(&touched, 7), "byte {at}");
        }
        for at in [0, 6, 8, bytes.len(), usize::MAX] {
            assert!(!is_sealed(&bytes, at));
        }
    }
}
