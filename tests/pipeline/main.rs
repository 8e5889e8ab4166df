//! From files to pictures: images in and out, bundles, sampling.

mod grid;
mod images;
mod output;
mod preprocessing;
