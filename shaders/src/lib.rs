//! percept's compute kernels in WGSL.
//!
//! A kernel is one file, `K.wgsl`, which imports what it shares with others from `shared/`. A
//! [`Shader`] is one of its variants; [`Shader::source`] composes its WGSL, a few lines at a time. When
//! this crate is built, every variant there is ([`variants`]) is composed, validated by naga at the
//! capabilities that it needs, and reflected: [`Reflection`] says how each kernel's parameters lie and
//! which buffers it binds. A kernel that is not valid fails the build.
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

/// Every variant of every kernel that there is.
pub fn variants() -> Vec<Shader> {
    REFLECTIONS.iter().flat_map(|reflection| variants::variants(reflection.kernel)).collect()
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

impl Shader {
    /// Its WGSL, with one entry point, `main`.
    ///
    /// # Errors
    /// Where it is none of the [`variants`] and lacks a constant that its kernel's file asks for.
    pub fn source(&self) -> Result<String, ComposeError> {
        self.compose_from(&|name| FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text))
    }

    /// How its kernel's parameters and buffers lie; none for a kernel that does not exist.
    pub fn reflection(&self) -> Option<&'static Reflection> {
        REFLECTIONS.iter().find(|reflection| reflection.kernel == self.kernel)
    }
}
