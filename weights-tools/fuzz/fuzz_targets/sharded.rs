//! Fuzzes indexes of two .safetensors files, together with the files.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use percept_weights_fuzz::layout::{Layout, files};
use percept_weights_fuzz::{try_file, write};

fuzz_target!(|input: &[u8]| {
    let [index, first, second] = files(input);
    write("1.safetensors", first);
    write("2.safetensors", second);
    try_file(&write("model.safetensors.index.json", index), input.len());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    Layout::Sharded.mutate(data, size, max_size, seed)
});
