//! percept shows what a neural network's representation of an image kept of it.
//!
//! An encoder (a ResNet or vision transformer, with or without a projector head) turns an image into a vector `h`; RCDM
//! (Representation-Conditioned Diffusion Model, Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>)
//! samples images whose representation is `h`. What stays the same over many samples is what `h`
//! knows; what varies is what it lost.
//!
//! ```
//! use std::path::Path;
//!
//! use percept::pipeline::{Bundle, Device, Method, SampleOptions, image_file};
//!
//! let assets = Path::new("../examples/assets");
//! let mut bundle = Bundle::open(&assets.join("trunk.bundle.json"), &Device::named("auto")?)?;
//! let h = bundle.encoder.encode(&image_file::open(assets.join("images/4_star.png"))?)?;
//! let options = SampleOptions { samples: 2, method: Method::ddpm(2), ..SampleOptions::default() };
//! let images = bundle.rcdm.sample(&h, &options)?;
//! assert_eq!(images.len(), 2);
//! # Ok::<(), percept::Error>(())
//! ```
//!
//! The crate is `no_std` + `alloc` without its default features: shapes, programs, kernels' CPU
//! twins, models, schedules, noise and samplers. Feature `std` adds files, images and the fast CPU
//! path.
//!
//! The layers, lowest first, each naming only those below it: [`tensor`], [`kernels`] (parameters of
//! the kernels), [`reference`](mod@reference) (their twins) and [`cpu`] (their fast host versions),
//! [`program`] (a model as plain data), [`weights`], [`models`] and [`diffusion`], [`pipeline`].
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod check;
#[cfg(feature = "std")]
pub mod cpu;
pub mod diffusion;
pub mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod kernels;
pub mod models;
pub mod pipeline;
pub mod program;
pub mod reference;
pub mod tensor;
pub mod weights;

pub use error::{Error, Result};
pub use tensor::{DType, Precision, Shape, Tensor};
#[cfg(feature = "gpu")]
pub use wgpu;
