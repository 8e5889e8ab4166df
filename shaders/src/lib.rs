//! percept's compute kernels in WGSL.
//!
//! A kernel is one file, `K.wgsl`, which imports the parts that it shares with others from `shared/`. A [`Shader`]
//! is one variant of a kernel, and [`Shader::source`] composes its WGSL. The build of this crate composes all
//! [`variants`], validates each with naga at the capabilities that it needs, and reflects it. [`Reflection`]
//! describes the buffers that a kernel binds, and [`params`] the layout of its parameters. An invalid kernel fails
//! the build.
#![deny(missing_docs)]

mod compose;
mod constants;
mod reflection;
mod shader;
mod tile;
mod variants;

pub use compose::{ComposeError, compose};
pub use constants::*;
pub use reflection::{Binding, Reflection};
pub use shader::Shader;
pub use tile::Tile;

/// Returns every variant of every kernel.
pub fn variants() -> Vec<Shader> {
    REFLECTIONS.iter().flat_map(|reflection| variants::variants(reflection.kernel)).collect()
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

impl Shader {
    /// Returns the shader's WGSL, with one entry point, `main`.
    ///
    /// # Errors
    /// Returns an error if the shader is not one of the [`variants`] and lacks a constant that its kernel's file uses.
    pub fn source(&self) -> Result<String, ComposeError> {
        self.compose_from(&|name| FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text))
    }

    /// Returns the buffers that the kernel binds, or `None` if the kernel does not exist.
    pub fn reflection(&self) -> Option<&'static Reflection> {
        REFLECTIONS.iter().find(|reflection| reflection.kernel == self.kernel)
    }
}
