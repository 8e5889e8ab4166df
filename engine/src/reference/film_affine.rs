//! Twin of `film_affine`.

use crate::kernels::{FilmAffine, Reads, Writes};

/// Runs [`FilmAffine`].
pub(super) fn run(p: &FilmAffine, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let channels = p.channels;
    for n in 0..p.batch {
        let rows = p.rows.of(buffers.rows, n, 2 * channels);
        let film = p.film.of(buffers.film, n, 2 * channels);
        for c in 0..channels {
            let gain = 1.0 + f64::from(film[c]);
            let scale = f64::from(rows[c]) * gain;
            let shift = f64::from(rows[channels + c]) * gain + f64::from(film[channels + c]);
            output[n * 2 * channels + c] = scale as f32;
            output[n * 2 * channels + channels + c] = shift as f32;
        }
    }
}
