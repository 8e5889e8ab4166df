//! A kernel's parameters lie on the device as they lie in Rust, and its buffers have the names it gives them.

use std::collections::BTreeSet;

use percept::gpu::dispatch::layouts;
use percept_shaders::{REFLECTIONS, variants};

#[test]
fn parameters_lie_in_rust_as_in_the_shader() {
    for layout in layouts() {
        let reflection = REFLECTIONS.iter().find(|reflection| reflection.kernel == layout.kernel);
        let reflection = reflection.unwrap_or_else(|| panic!("{} has no shader", layout.kernel));
        let in_shader: Vec<_> =
            reflection.params.iter().map(|field| (field.name, field.kind, field.offset as usize)).collect();
        assert_eq!(layout.fields, in_shader, "{}", layout.kernel);
        assert_eq!(layout.size, reflection.params_size as usize, "{}", layout.kernel);
        assert_eq!(layout.fields.first(), Some(&("grid_width", "u32", 0)), "{}", layout.kernel);
    }
}

#[test]
fn every_shader_has_a_dispatch_and_every_dispatch_a_shader() {
    let dispatched: Vec<&str> = layouts().iter().map(|layout| layout.kernel).collect();
    let reflected: Vec<&str> = REFLECTIONS.iter().map(|reflection| reflection.kernel).collect();
    let composed: BTreeSet<&str> = variants().iter().map(|shader| shader.kernel).collect();
    let once: BTreeSet<&str> = dispatched.iter().copied().collect();
    assert_eq!(once.len(), dispatched.len(), "a kernel has two layouts: {dispatched:?}");
    assert_eq!(Vec::from_iter(once), reflected);
    assert_eq!(Vec::from_iter(composed), reflected);
}

#[test]
fn no_variant_is_listed_twice_and_each_has_its_label() {
    let shaders = variants();
    assert_eq!(shaders.iter().collect::<BTreeSet<_>>().len(), shaders.len());
    let labels: BTreeSet<String> = shaders.iter().map(|shader| shader.label()).collect();
    assert_eq!(labels.len(), shaders.len());
}
