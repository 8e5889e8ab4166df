//! What naga says about a kernel's interface.

/// The interface of a kernel: its parameters, and the buffers that its variants bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The fields of its `Params`, which all variants have, in order; none where it has no parameters.
    pub params: &'static [Field],
    /// Bytes of `Params`.
    pub params_size: u32,
    /// The storage buffers of all variants, by their numbers.
    pub bindings: &'static [Binding],
}

/// A field of a kernel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in WGSL: `u32` or `f32`.
    pub kind: &'static str,
    /// Where it begins, in bytes.
    pub offset: u32,
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
