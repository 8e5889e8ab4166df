//! The interface of a kernel, as naga reflects it.

/// The buffers that the variants of a kernel bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The storage buffers of all variants, ordered by binding number.
    pub bindings: &'static [Binding],
}

/// A storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The buffer's name, which is also its name in percept's `Parameters::bindings`.
    pub name: &'static str,
    /// The binding number in group 0.
    pub number: u32,
    /// True if the shader writes the buffer.
    pub written: bool,
}
