//! Twin of `to_rgba8`.

use crate::kernels::{Reads, ToRgba8, Writes};

/// Runs [`ToRgba8`].
pub(super) fn run(p: &ToRgba8, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.words();
    let lines = p.reads(reads).source.chunks(3 * p.width);
    for (line, pixels) in output.chunks_mut(p.pitch()).zip(lines) {
        line.fill(0);
        for (word, pixel) in line.iter_mut().zip(pixels.chunks(3)) {
            let [red, green, blue] = [0, 1, 2].map(|c| byte(pixel[c]));
            *word = u32::from_le_bytes([red, green, blue, 255]);
        }
    }
}

/// Maps a value in -1..1 to a byte in 0..255. Values outside are clamped.
pub fn byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).clamp(0.0, 255.0) as u8
}
