//! Tests the models, samplers, schedules and crops against PyTorch's goldens, on every device.

mod config;
mod files;
mod flags;
mod goldens;
mod recipes;
mod source;
mod statistics;
mod superres;
mod weights;
