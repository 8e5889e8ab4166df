//! Fuzzes checkpoints of any names, shapes and configuration: which models are recognised in them, and how they
//! would be converted.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use percept_weights_fuzz::{path, source, try_file};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(text) = str::from_utf8(input) else { return Corpus::Reject };
    let path = path("model.safetensors");
    source::write(&path, text).expect("a file that can be written");
    try_file(&path, input.len());
    Corpus::Keep
});
