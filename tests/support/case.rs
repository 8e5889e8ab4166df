//! A kernel with the buffers that it reads, to run on the twin, the fast CPU path or a GPU.

use half::f16;
use percept::DType;
use percept::kernels::{Binding, Kernel, Reads};

use crate::SplitMix;

/// The initial value of output buffers, a NaN, so that an element that is not written is noticed.
const UNWRITTEN: u32 = 0x7fc0_0bad;

/// A kernel and values for every buffer that it reads.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel with its parameters.
    pub kernel: Kernel,
    reads: Vec<(Binding, Vec<u32>)>,
}

impl Case {
    /// Creates a case with pseudo-random inputs: floats in [-1, 1), or any words.
    pub fn random(kernel: impl Into<Kernel>, seed: u64) -> Self {
        let kernel = kernel.into();
        let mut random = SplitMix::new(seed);
        let reads = kernel
            .parameters()
            .bindings()
            .into_iter()
            .filter(|binding| !binding.written)
            .map(|binding| {
                let words = (0..binding.shape.elements())
                    .map(|_| match binding.dtype {
                        DType::U32 => random.word(),
                        DType::F32 | DType::F16 => random.float().to_bits(),
                    })
                    .collect();
                (binding, words)
            })
            .collect();
        Case { kernel, reads }
    }

    /// Returns the name of the case for failure messages.
    pub fn name(&self) -> String {
        format!("{:?}", self.kernel)
    }

    /// Returns the words of the input of that name.
    ///
    /// # Panics
    /// Panics if the kernel has no such input.
    #[track_caller]
    pub fn words(&self, name: &str) -> &[u32] {
        let found = self.reads.iter().find(|(binding, _)| binding.name == name);
        &found.unwrap_or_else(|| panic!("{} reads no {name}", self.name())).1
    }

    /// Returns the input of that name as floats.
    ///
    /// # Panics
    /// See [`Case::words`].
    #[track_caller]
    pub fn floats(&self, name: &str) -> &[f32] {
        bytemuck::cast_slice(self.words(name))
    }

    /// Replaces the input of that name.
    ///
    /// # Panics
    /// Panics if the kernel has no such input, or if it has another length.
    #[track_caller]
    pub fn set(&mut self, name: &str, values: &[f32]) {
        self.set_words(name, bytemuck::cast_slice(values));
    }

    /// Replaces the words of the input of that name.
    ///
    /// # Panics
    /// See [`Case::set`].
    #[track_caller]
    pub fn set_words(&mut self, name: &str, words: &[u32]) {
        assert_eq!(self.words(name).len(), words.len(), "elements of {name} of {}", self.name());
        for (binding, buffer) in &mut self.reads {
            if binding.name == name {
                buffer.copy_from_slice(words);
            }
        }
    }

    /// Replaces every float input value `x` by `f(x)`.
    pub fn map_floats(&mut self, f: impl Fn(f32) -> f32) {
        let floats = self.reads.iter_mut().filter(|(binding, _)| binding.dtype == DType::F32);
        for word in floats.flat_map(|(_, words)| words) {
            *word = f(f32::from_bits(*word)).to_bits();
        }
    }

    /// Rounds the inputs of these names to half precision.
    pub fn round_to_half(&mut self, names: &[&str]) {
        for (_, words) in self.reads.iter_mut().filter(|(binding, _)| names.contains(&binding.name)) {
            for word in words {
                *word = f16::from_f32(f32::from_bits(*word)).to_f32().to_bits();
            }
        }
    }

    /// Returns every float input value.
    pub fn all_floats(&self) -> impl Iterator<Item = f32> {
        let floats = self.reads.iter().filter(|(binding, _)| binding.dtype == DType::F32);
        floats.flat_map(|(_, words)| words.iter().map(|word| f32::from_bits(*word)))
    }

    /// Runs the kernel by `executor`, which is [`percept::reference::run`] or a function of the same signature.
    /// Returns the buffers that it wrote.
    pub fn run(&self, executor: impl Fn(&Kernel, Reads<'_>, &mut [&mut [u32]])) -> Vec<Vec<u32>> {
        let mut outputs: Vec<Vec<u32>> = self
            .kernel
            .parameters()
            .bindings()
            .iter()
            .filter(|binding| binding.written)
            .map(|binding| vec![UNWRITTEN; binding.shape.elements()])
            .collect();
        let reads: Vec<&[u32]> = self.reads.iter().map(|(_, words)| words.as_slice()).collect();
        let mut writes: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        executor(&self.kernel, Reads::new(&reads), &mut writes);
        outputs
    }

    /// Runs the kernel by its twin and returns its outputs.
    pub fn twin_outputs(&self) -> Vec<Vec<f32>> {
        let outputs = self.run(percept::reference::run);
        outputs.iter().map(|words| bytemuck::cast_slice(words).to_vec()).collect()
    }

    /// Runs the kernel by its twin and returns its first output.
    pub fn twin(&self) -> Vec<f32> {
        self.twin_outputs().swap_remove(0)
    }
}
