//! Numbers to test with, and how results are compared.

use fastrand::Rng;

/// `n` numbers, evenly spread from `-amplitude` to `amplitude`.
pub fn numbers(rng: &mut Rng, n: usize, amplitude: f32) -> Vec<f32> {
    (0..n).map(|_| (rng.f32() * 2.0 - 1.0) * amplitude).collect()
}

/// Fails with the first number further than `tolerance` off, or than that of its own size.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let mut worst = 0.0_f64;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let off = (f64::from(g) - w).abs() / w.abs().max(1.0);
        assert!(off <= tolerance, "{what}: {g} instead of {w} at {i} of {}: {off:.2e} > {tolerance:.1e}", got.len());
        worst = worst.max(off);
    }
    println!("{what}: {worst:.2e} of {tolerance:.1e}");
}
