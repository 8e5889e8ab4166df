//! Tests schedules, respacing, noise and the samplers' tables, against guided-diffusion's numbers, published
//! vectors and the same formulas in `f64`.

mod golden;
mod noise;
mod respace;
mod sampler_tables;
mod schedule;
