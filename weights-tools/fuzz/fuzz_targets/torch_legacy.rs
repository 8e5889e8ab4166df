//! Fuzzes streams of pickles, as `torch.save` wrote before PyTorch 1.6, and single pickles.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use percept_weights_fuzz::layout::Layout;
use percept_weights_fuzz::{try_file, write};

fuzz_target!(|input: &[u8]| try_file(&write("model.pth", input), input.len()));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    Layout::Plain.mutate(data, size, max_size, seed)
});
