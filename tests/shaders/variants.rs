//! Tests the list of variants.

use std::collections::BTreeSet;

use percept_shaders::variants;

#[test]
fn no_variant_is_listed_twice_and_each_has_its_label() {
    let shaders = variants();
    assert_eq!(shaders.iter().collect::<BTreeSet<_>>().len(), shaders.len());
    let labels: BTreeSet<String> = shaders.iter().map(|shader| shader.label()).collect();
    assert_eq!(labels.len(), shaders.len());
}
