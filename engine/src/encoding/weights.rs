//! The model files of an encoder as one source of weights.

use crate::weights::{OpenModel, WeightSource};
use crate::{Result, Shape};

/// The prefix of the head's tensors in the encoder's program, before `.` and their names in the head's file. Trunks do
/// not use tensors with this prefix.
pub(super) const HEAD: &str = "head";

/// The model files of a trunk and, optionally, its head.
pub(super) struct EncoderWeights {
    pub trunk: OpenModel,
    pub head: Option<OpenModel>,
}

impl EncoderWeights {
    /// Returns the file that contains a tensor, and the tensor's name in that file.
    fn find<'a>(&self, tensor: &'a str) -> (&OpenModel, &'a str) {
        let of_head = tensor.strip_prefix(HEAD).and_then(|name| name.strip_prefix('.'));
        match (of_head, &self.head) {
            (Some(name), Some(head)) => (head, name),
            _ => (&self.trunk, tensor),
        }
    }
}

impl WeightSource for EncoderWeights {
    fn name(&self) -> &str {
        self.trunk.name()
    }

    fn tensors(&self) -> Vec<String> {
        let of_head = self.head.iter().flat_map(|head| head.tensors()).map(|name| format!("{HEAD}.{name}"));
        self.trunk.tensors().into_iter().chain(of_head).collect()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        let (file, name) = self.find(tensor);
        file.shape(name)
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        let (file, name) = self.find(tensor);
        file.read(name, out)
    }

    fn tensor(&self, tensor: &str) -> Result<Vec<f32>> {
        let (file, name) = self.find(tensor);
        file.tensor(name)
    }
}
