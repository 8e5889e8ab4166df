//! How many images are computed at once.

use super::device::Device;
use crate::program::Program;

/// Activations that a batch whose size is not given may take, in bytes.
pub(super) const BATCH_BYTES: usize = 512 << 20;
/// The same of one that an encoder computes on the host. ResNet-50's batches at 224 pixels are no faster than single images,
/// which fill all cores; those of a few small images are.
pub(super) const HOST_BATCH_BYTES: usize = 16 << 20;
/// The most images of a batch whose size is not given.
const BATCH_MAX: usize = 16;

/// As large as pays, and fits the device's buffers, by a model's program for a batch of one and the
/// bytes that activations may take.
pub(super) fn sensible_batch(one: &Program, device: &Device, bytes: usize) -> usize {
    let per_image = one.memory().activations.max(1);
    let largest = one.plan().slot_bytes().iter().copied().max().unwrap_or(0).max(1);
    (bytes / per_image).min(device.max_value_bytes() / largest).clamp(1, BATCH_MAX)
}

/// The size of equal batches of at most `most` for a `total`.
pub(super) fn even_batch(most: usize, total: usize) -> usize {
    total.div_ceil(total.div_ceil(most).max(1)).max(1)
}
