//! Shared test support: comparisons that report where values differ, reproducible inputs for any kernel, and
//! plain operations in `f64` that define the correct results.
//!
//! The expected results never come from the code under test.

pub mod case;
pub mod child;
pub mod compare;
pub mod device;
pub mod fields;
pub mod model_file;
pub mod plain;
pub mod random;
pub mod sweep;
pub mod unet;
mod watchdog;

pub use case::Case;
pub use child::{BUILD_LIMIT, output, output_within, wait};
pub use compare::{Bound, assert_close, relative_error};
pub use device::{adapters, as_packed, bindings, halves, left_out, ran, read_output, run_guarded, run_on};
pub use fields::assert_every_field_has_a_case;
pub use model_file::{golden_model, write_rcdm_of_64, write_synthetic, write_upsampler_32_64};
pub use plain::Image;
pub use random::SplitMix;
pub use sweep::{part, parts_on, seeds};
pub use unet::{add_unet, unet_weights};
