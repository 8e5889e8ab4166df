//! `to_rgba8`: converts images to RGBA bytes for a texture.

use alloc::vec::Vec;

use super::{Binding, Kernel, Parameters, Reads};
use crate::{Error, Result};

/// Parameters of the conversion of a network's images to RGBA bytes for a texture.
///
/// ```text
/// byte(v)    = trunc(clamp((v + 1) * 127.5, 0, 255))
/// y[n, p, q] = byte(x[n, p, q, 0]) | byte(x[n, p, q, 1]) << 8 | byte(x[n, p, q, 2]) << 16 | 255 << 24
/// ```
///
/// In memory, each word holds the bytes red, green, blue and 255. The number of words of a line of the result is a
/// multiple of [`ToRgba8::ALIGNMENT`], as a copy to a texture requires; the words after the image's pixels are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRgba8 {
    /// The number of samples.
    pub batch: usize,
    /// The height of a sample.
    pub height: usize,
    /// The width of a sample.
    pub width: usize,
}

/// The buffers that the conversion reads.
pub struct ToRgba8Reads<'a> {
    /// `[n, h, w, 3]`
    pub source: &'a [f32],
}

impl ToRgba8 {
    /// The alignment of a line, in pixels: WebGPU requires 256 bytes.
    pub const ALIGNMENT: usize = 64;

    /// Returns the number of words of a line of the result.
    pub fn pitch(&self) -> usize {
        self.width.next_multiple_of(Self::ALIGNMENT)
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ToRgba8Reads<'a> {
        ToRgba8Reads { source: reads.floats() }
    }
}

impl Parameters for ToRgba8 {
    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.height, self.width].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w] = [self.batch, self.height, self.width];
        Vec::from([Binding::read("source", [n, h, w, 3]), Binding::write_u32("output", [n, h, self.pitch()])])
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, ToRgba8 { batch, ..self.clone() }.into()))
    }
}
