//! Tests that a value which no split makes fit a binding or a buffer is refused by name, before anything is
//! created, and that one element less is accepted.

use percept::device::gpu::dispatch::{Capabilities, dispatches};
use percept::device::gpu::{Gpu, GpuExecutor};
use percept::kernels::{Activation, Attention, Concat, Dense, Kernel, LayerNorm, Noise, NotFinite, QkvOrder, Stream};
use percept::{DType, Error};

use super::failures::{concatenation, no_weights};
use super::first_adapter;

/// The limit of a binding, in bytes.
const LIMIT: usize = 64 << 10;

const CAPABILITIES: Capabilities =
    Capabilities { native_f16: false, max_binding_bytes: LIMIT, max_buffer_bytes: LIMIT };

/// Returns the number of a kernel's dispatches if its weight has type `weight`; otherwise the name of the
/// buffer that is too large, and the expected size.
fn planned(kernel: &Kernel, weight: DType) -> Result<usize, (String, String)> {
    let mut bindings = kernel.parameters().bindings();
    bindings.iter_mut().filter(|binding| binding.name == "weight").for_each(|binding| binding.dtype = weight);
    match dispatches(kernel, &bindings, &CAPABILITIES) {
        Ok(dispatches) => Ok(dispatches.len()),
        Err(Error::OutOfMemory(mismatch)) => Err((mismatch.at, mismatch.expected)),
        Err(other) => panic!("{kernel:?}: {other}"),
    }
}

#[track_caller]
fn assert_refused(kernel: impl Into<Kernel>, at: &str, expected: &str) {
    let kernel = kernel.into();
    let Err((got_at, got)) = planned(&kernel, DType::F32) else { panic!("{kernel:?} is not refused") };
    assert_eq!(got_at, at, "{kernel:?}");
    assert!(got.starts_with(expected), "{kernel:?}: {got}");
}

fn dense(rows: usize, in_features: usize, out_features: usize) -> Dense {
    Dense { rows, in_features, out_features, bias: false, residual: false, activation: Activation::Identity }
}

/// A panel of 64 columns is never split.
#[test]
fn a_weight_whose_panel_exceeds_a_binding_is_refused() {
    for (dtype, depth) in [(DType::F32, 256), (DType::F16, 512)] {
        assert_eq!(planned(&dense(1, depth, 64).into(), dtype), Ok(1));
        assert_eq!(planned(&dense(1, depth, 65).into(), dtype), Ok(2));
        let (at, expected) = planned(&dense(1, depth + 1, 1).into(), dtype).expect_err("a panel that is too large");
        assert_eq!(
            (at.as_str(), expected.as_str()),
            ("weight", "64 columns in at most 65536 bytes, a binding's limit")
        );
    }
}

/// Noise and the tiles of the test for NaN are counted from the first sample on, and rows of a linear layer are
/// not split.
#[test]
fn what_has_no_samples_to_be_split_by_is_refused() {
    let floats = LIMIT / 4;
    let noise = |elements| Noise { batch: 2, sample: [1, 1, elements], stream: Stream::Start };
    let test = |width| NotFinite { batch: 2, height: 1, width, channels: 1 };
    for kernel in [noise(floats / 2).into(), test(floats / 2).into(), dense(64, 1, floats / 64).into()] {
        assert_eq!(planned(&kernel, DType::F32), Ok(1), "{kernel:?}");
    }
    assert_refused(noise(floats / 2 + 1), "noise (output)", "one sample in at most 65536 bytes");
    assert_refused(test(floats / 2 + 1), "not_finite (source)", "one sample in at most 65536 bytes");
    assert_refused(dense(65, 1, floats / 64), "dense (output)", "one sample in at most 65536 bytes");
}

/// A sample of attention or of a layer norm depends on all of its tokens.
#[test]
fn what_has_no_lines_to_be_split_by_is_refused() {
    let floats = LIMIT / 4;
    let order = QkvOrder::HeadsFirst;
    let attention = |width| Attention { batch: 3, height: 1, width, heads: 1, head_channels: 64, order };
    let norm = |tokens| LayerNorm { batch: 3, tokens, first: 0, count: tokens, channels: 64, eps: 1e-6 };
    assert_eq!(planned(&attention(floats / 64 / 3).into(), DType::F32), Ok(3));
    assert_eq!(planned(&norm(floats / 64).into(), DType::F32), Ok(3));
    assert_refused(attention(floats / 64 / 3 + 1), "attention (qkv)", "one sample in at most 65536 bytes");
    assert_refused(norm(floats / 64 + 1), "layer_norm (source)", "one sample in at most 65536 bytes");
}

#[test]
fn a_line_that_exceeds_a_binding_is_refused() {
    let concat = |width| Concat { batch: 1, height: 3, width, channels: [32, 32] };
    let fitting = LIMIT / 4 / 64;
    assert_eq!(planned(&concat(fitting).into(), DType::F32), Ok(3));
    assert_refused(concat(fitting + 1), "concat (source)", "one line in at most 65536 bytes");
}

/// The largest buffer holds both values, and its guard zone.
#[test]
fn a_buffer_of_the_largest_size_is_made_and_none_larger() {
    let Some(adapter) = first_adapter() else { return };
    let largest = 8 * 5000 + 256;
    for (max_buffer_bytes, fits) in [(largest, true), (largest - 1, false)] {
        let gpu = Gpu::open_as(&adapter, |own| Capabilities { max_buffer_bytes, ..own }).expect("a device");
        match GpuExecutor::new(&gpu, concatenation(1, 5000), &no_weights()) {
            Ok(_) => assert!(fits),
            Err(Error::OutOfMemory(mismatch)) => {
                assert!(!fits && mismatch.expected.contains(&max_buffer_bytes.to_string()), "{mismatch}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
