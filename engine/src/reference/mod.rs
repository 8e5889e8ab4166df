//! The kernels' CPU twins: plain loops with sums in `f64`, on the same parameters and buffers.
//!
//! Twins are simple enough to be obviously correct. Every faster version of a kernel is compared with
//! its twin.

use crate::for_each_kernel;
use crate::kernels::{Kernel, Reads, Writes};

pub use noise::{cos_sin, normal_pair, normals, philox4x32_10, radius};
pub use to_rgba8::byte;

macro_rules! twins {
    ($($(#[$doc:meta])* $kernel:ident: $module:ident,)*) => {
        $(mod $module;)*

        /// Runs a kernel on the host with its twin.
        ///
        /// `reads` and `writes` are the kernel's buffers as 32-bit words, in binding order.
        pub fn run(kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]) {
            let writes = Writes::new(writes);
            match kernel {
                $(Kernel::$kernel(p) => $module::run(p, reads, writes),)*
            }
        }
    };
}

for_each_kernel!(twins);
