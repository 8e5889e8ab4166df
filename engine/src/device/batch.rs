//! The choice of batch sizes.

use super::Device;
use crate::program::Program;

/// The maximum size of the activations of a batch, in bytes, if the caller gives no batch size.
pub(crate) const BATCH_BYTES: usize = 512 << 20;
/// The same limit for encoders on the host. At 224 pixels, ResNet-50 is no faster in batches than with single images,
/// which fill all cores; batches of a few small images are faster.
pub(crate) const HOST_BATCH_BYTES: usize = 16 << 20;
/// The maximum number of images in a batch if the caller gives no batch size.
const BATCH_MAX: usize = 16;

/// Returns the largest batch size that pays and fits, given a model's program for a batch of one: its activations fit
/// `bytes`, and each of its values fits the device's buffers.
pub(crate) fn sensible_batch(one: &Program, device: &Device, bytes: usize) -> usize {
    let largest = one.plan().slot_bytes().iter().copied().max().unwrap_or(0);
    largest_batch(one.memory().activations, largest, bytes, device.max_value_bytes())
}

/// Returns the largest batch whose activations fit `bytes` and whose largest value fits `value_bytes`, given one
/// image's.
fn largest_batch(activations: usize, largest_value: usize, bytes: usize, value_bytes: usize) -> usize {
    (bytes / activations.max(1)).min(value_bytes / largest_value.max(1)).clamp(1, BATCH_MAX)
}

/// Returns the size of equal batches, at most `most` each, for `total` images.
pub(crate) fn even_batch(most: usize, total: usize) -> usize {
    total.div_ceil(total.div_ceil(most).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Concat;
    use crate::program::Graph;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_batch_is_as_large_as_every_limit_allows() {
        for (activations, largest_value, bytes, value_bytes, want) in [
            // 512 MiB of activations, 16 MiB on the host, or 16 images.
            (32 * MIB, 0, BATCH_BYTES, usize::MAX, 16),
            (32 * MIB + 1, 0, BATCH_BYTES, usize::MAX, 15),
            (256 * MIB, 0, BATCH_BYTES, usize::MAX, 2),
            (256 * MIB + 1, 0, BATCH_BYTES, usize::MAX, 1),
            (2 * MIB, 0, HOST_BATCH_BYTES, usize::MAX, 8),
            (2 * MIB + 1, 0, HOST_BATCH_BYTES, usize::MAX, 7),
            (1, 0, BATCH_BYTES, usize::MAX, 16),
            // The device's limit on one value.
            (MIB, 1000, BATCH_BYTES, 16_000, 16),
            (MIB, 1000, BATCH_BYTES, 15_999, 15),
            (MIB, 1000, BATCH_BYTES, 1000, 1),
            // At least one image, even if it exceeds a limit or its size is unknown.
            (513 * MIB, 0, BATCH_BYTES, usize::MAX, 1),
            (MIB, 1000, BATCH_BYTES, 999, 1),
            (0, 0, BATCH_BYTES, usize::MAX, 16),
        ] {
            let got = largest_batch(activations, largest_value, bytes, value_bytes);
            assert_eq!(got, want, "{activations} {largest_value} {bytes} {value_bytes}");
        }
    }

    #[test]
    fn a_programs_slots_count() {
        // Two inputs of 8 MiB and a result of 16 MiB.
        let mut g = Graph::new();
        let [a, b] = ["a", "b"].map(|name| g.input(name, [1, 1, 1, 2 * MIB]));
        let concat = Concat { batch: 1, height: 1, width: 1, channels: [2 * MIB; 2] };
        let both = g.op1("both", concat, &[a, b]).expect("a concatenation");
        g.output("both", both);
        let one = g.finish().expect("a program");
        for (bytes, want) in [(64 * MIB, 2), (96 * MIB - 1, 2), (96 * MIB, 3), (BATCH_BYTES, 16), (HOST_BATCH_BYTES, 1)]
        {
            assert_eq!(sensible_batch(&one, &Device::reference(), bytes), want, "{bytes}");
        }
    }

    #[test]
    fn batches_are_as_few_as_can_be_and_no_larger_than_that_takes() {
        for most in 1..=20 {
            for total in 0..=100usize {
                let batches = |batch: usize| total.div_ceil(batch);
                let smallest = (1..=most).find(|&batch| batches(batch) == batches(most));
                assert_eq!(Some(even_batch(most, total)), smallest, "{total} images, at most {most}");
            }
        }
    }
}
