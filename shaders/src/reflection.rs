//! What naga says about a kernel's interface.

/// The buffers that the variants of a kernel bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The storage buffers of all variants, by their numbers.
    pub bindings: &'static [Binding],
}

/// A storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name, which is that of the kernel's binding in percept's `Parameters::bindings`.
    pub name: &'static str,
    /// Its number in group 0.
    pub number: u32,
    /// Whether it is written.
    pub written: bool,
}
