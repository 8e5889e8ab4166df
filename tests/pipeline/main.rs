//! Tests the way from files to pictures: images in and out, bundles, sampling.

mod bundles;
mod demo;
mod encoders;
mod flags;
mod grid;
mod images;
mod jobs;
mod layers;
mod limits;
mod model_files;
mod not_finite;
mod npz;
mod options;
mod output;
mod preprocessing;
mod readme;
mod representations;
mod sampling;
mod starts;
mod upsampling;
