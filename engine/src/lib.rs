//! An embeddable engine that visualizes what a neural network's representation of an image retains.
//!
//! An encoder (a ResNet or a vision transformer, self-supervised or supervised) maps an image to a vector `h`. RCDM
//! (Representation-Conditioned Diffusion Model, Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>), a
//! diffusion UNet conditioned on `h`, samples images whose representation is `h`. What the samples share is encoded
//! in `h`; what varies between them is not.
//!
//! percept runs on any GPU through hand-written WGSL kernels on [`wgpu`], and on the CPU without one.
//!
//! # Encode and sample
//!
//! ```
//! use std::path::Path;
//!
//! use percept::{Bundle, Device, Method, SampleOptions, images};
//!
//! let assets = Path::new("../examples/assets");
//! let mut bundle = Bundle::open(assets.join("trunk.bundle.json"), &Device::named("auto")?)?;
//! let h = bundle.encoder.encode(&images::open(assets.join("images/4_star.png"))?)?;
//! let options = SampleOptions { samples: 2, method: Method::ddpm(2), ..SampleOptions::default() };
//! let samples = bundle.rcdm.sample(&h, &options)?;
//! assert_eq!(samples.len(), 2);
//! # Ok::<(), percept::Error>(())
//! ```
//!
//! - A [`Bundle`] is an [`Encoder`] and the [`Rcdm`] that was trained on its representations. Both can be opened by
//!   themselves, from model files that the converter `percept-weights` makes from checkpoints of other projects.
//! - [`Encoder::open_layer`] takes the representation from any layer of the encoder, or of its projector head.
//! - An [`Upsampler`] enlarges samples.
//! - [`images`] reads and prepares images, and writes grids, PNG and npz files.
//!
//! # Devices
//!
//! [`Device::named`] opens `cpu`, `reference` (plain loops, for checks), `gpu`, or an adapter by a part of its
//! name; `auto` takes a hardware GPU if there is one and the CPU otherwise. [`Device::with_precision`] stores
//! weights and activations in half precision. The same program runs on every device, which is what makes devices
//! comparable: [`check`] compares them with results of PyTorch.
//!
//! # Jobs
//!
//! Sampling takes seconds to minutes. [`Rcdm::start`] returns a [`Job`], which an application advances a few
//! milliseconds at a time between two frames. A job reports its [`Progress`], shows a preview, can be cancelled
//! from another thread, and can be saved and resumed, also after a device is lost.
//!
//! # An application's own wgpu device
//!
//! [`device::gpu::Gpu::from_wgpu`] runs on the device and queue of the application, at wgpu's default limits and
//! without features; more of both is used if present. [`Job::record`] puts a slice of the run into the
//! application's command encoder, and [`Job::show`] copies a preview into one of its textures.
//!
//! # Without the standard library
//!
//! Without its default features the crate is `no_std` + `alloc`: kernels and their twins, programs, models,
//! schedules, noise and the sampling loop ([`diffusion::SamplingLoop`]), on the CPU in plain loops
//! ([`device::HostExecutor`]). Feature `std` adds files, images and the fast CPU path; feature `gpu` adds wgpu.
//!
//! # Where to go next
//!
//! The layers, lowest first, each using only those below it: [`tensor`]; [`kernels`], the parameters of each
//! kernel; [`reference`](mod@reference), their twins; [`weights`]; [`program`], a model as plain data; [`device`],
//! what runs programs; [`models`]; [`diffusion`]; [`images`]; [`encoding`]; [`sampling`]; [`check`]. The
//! repository's `docs/` folder has pages on embedding, converting checkpoints, the architecture, and adding
//! kernels, models, samplers and commands.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod check;
pub mod device;
pub mod diffusion;
#[cfg(feature = "std")]
pub mod encoding;
pub mod error;
#[cfg(feature = "std")]
pub mod images;
pub mod kernels;
pub mod models;
pub mod program;
pub mod reference;
#[cfg(feature = "std")]
pub mod sampling;
pub mod tensor;
pub mod weights;

#[cfg(feature = "std")]
pub use device::Device;
pub use diffusion::{Method, Steps};
#[cfg(feature = "std")]
pub use encoding::{Encoder, Representations};
pub use error::{Error, Result};
#[cfg(feature = "std")]
pub use image;
#[cfg(feature = "std")]
pub use images::Preprocessing;
#[cfg(feature = "std")]
pub use sampling::{Bundle, CancelToken, Job, Progress, Rcdm, SampleOptions, Start, Status, Upsampler};
pub use tensor::{DType, Precision, Shape, Tensor};
#[cfg(feature = "gpu")]
pub use wgpu;
