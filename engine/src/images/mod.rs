//! Reads, resamples and preprocesses images for a model, and writes grids, PNG and npz files.

mod image_file;
mod npy;
mod output_file;
mod png;
mod resample;

pub mod grid;
pub mod npz;
pub mod preprocessing;

pub use self::png::write_png;
pub use image_file::{MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, decode, open};
pub(crate) use npy::{npy_header, stored};
pub use npz::write_npz;
pub use output_file::replace_file_by;
pub use preprocessing::Preprocessing;
