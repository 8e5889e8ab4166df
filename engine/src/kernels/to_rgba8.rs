//! `to_rgba8`: the pixels of pictures as bytes, as a texture takes them.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// The parameters of the way from a network's images to pictures
///
/// ```text
/// byte(v)    = trunc(clamp((v + 1) * 127.5, 0, 255))
/// y[n, p, q] = byte(x[n, p, q, 0]) | byte(x[n, p, q, 1]) << 8 | byte(x[n, p, q, 2]) << 16 | 255 << 24
/// ```
///
/// which in memory are the bytes red, green, blue and 255. A line of the result has as many words as a copy to a texture
/// asks for, a multiple of [`ToRgba8::ALIGNMENT`]; those behind the image's are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRgba8 {
    /// Samples.
    pub batch: usize,
    /// Height of a sample.
    pub height: usize,
    /// Width of a sample.
    pub width: usize,
}

/// The buffers that pictures are made of.
pub struct ToRgba8Reads<'a> {
    /// `[n, h, w, 3]`
    pub source: &'a [f32],
}

impl ToRgba8 {
    /// Pixels between two places where a line may begin: 256 bytes, in WebGPU.
    pub const ALIGNMENT: usize = 64;

    /// Words of a line of the result.
    pub fn pitch(&self) -> usize {
        self.width.next_multiple_of(Self::ALIGNMENT)
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ToRgba8Reads<'a> {
        ToRgba8Reads { source: reads.floats() }
    }
}

impl Parameters for ToRgba8 {
    fn name(&self) -> &'static str {
        "to_rgba8"
    }

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
}
