//! Tests numbers that do not fit the type of a flag: they are refused, never truncated.

use super::{Runs, TABLES};

/// The program, the line, and the flag that the error names. 4294967297 is 1 in 32 bits.
const LINES: [(&str, &str, &str); 19] = [
    ("percept", "sample --samples 4294967297", "--samples"),
    ("percept", "sample --batch 4294967297", "--batch"),
    ("percept", "sample --threads 4294967297", "--threads"),
    ("percept", "sample --threads 1025", "--threads"),
    ("percept", "sample --class 4294967296", "--class"),
    ("percept", "sample --seed 18446744073709551616", "--seed"),
    ("percept", "sample --image-size 4294967360", "--image-size"),
    ("percept", "sample --steps 18446744073709551617", "--steps"),
    ("percept", "sample --steps 2 --from @disc --from-step 4294967296", "--from-step"),
    ("percept", "sample --steps 2 --from @disc --from-step 18446744073709551616", "--from-step"),
    ("percept", "encode -o h.npy --image-size 4294967360 --encoder @demo/encoder.safetensors @disc", "--image-size"),
    ("percept", "encode -o h.npy --encoder random:resnet18:18446744073709551616 @disc", "--encoder"),
    ("percept", "bench --batch 4294967297 @demo/head.safetensors", "--batch"),
    ("percept", "bench --size 4294967360 @demo/encoder.safetensors", "--size"),
    ("percept", "bench --runs 4294967297 @demo/head.safetensors", "--runs"),
    ("percept", "upscale --batch 4294967297 --upsampler x x.png", "--batch"),
    ("percept", "upscale --class 4294967296 --upsampler x x.png", "--class"),
    ("percept-weights", "convert -o m.safetensors --image-size 4294967360 @demo/encoder.safetensors", "--image-size"),
    ("percept-weights", "bundle -o x.bundle.json --encoder x --decoder x --image-size 4294967360", "--image-size"),
];

#[test]
fn numbers_that_are_too_large_are_refused() {
    for (program, line, flag) in LINES {
        let table = TABLES.iter().find(|table| table.program == program && table.command.is_empty());
        let run = Runs::new(table.expect("the program's table")).run(line);
        assert!([Some(1), Some(2)].contains(&run.ended.code), "{line}: {}", run.ended.stdout);
        assert!(run.ended.stderr.contains(flag), "{line}: {}", run.ended.stderr);
        assert!(run.files.is_empty(), "{line} wrote {:?}", run.files.keys());
    }
}
