//! The list of shader variants that the build validates, against those that dispatches ask for.

use std::collections::BTreeSet;
use std::path::Path;

use percept::Precision;
use percept::check::Network;
use percept::device::gpu::dispatch::{Capabilities, dispatches};
use percept::kernels::{Binding, Kernel};
use percept::models::{Model, UnetConfig};
use percept::program::Program;
use percept::weights::Synthetic;
use percept_shaders::{Shader, variants};
use percept_tests::bindings;

use crate::edges::{edges, gpu_edges};
use crate::halves;

/// Adds the shaders that a kernel asks for at wgpu's default limits, with and without native half precision.
fn add(asked: &mut BTreeSet<Shader>, kernel: &Kernel, bindings: &[Binding]) {
    for native_f16 in [false, true] {
        let capabilities = Capabilities { native_f16, max_binding_bytes: 128 << 20, max_buffer_bytes: 256 << 20 };
        let dispatches = dispatches(kernel, bindings, &capabilities).expect("dispatches");
        asked.extend(dispatches.into_iter().map(|dispatch| dispatch.shader));
    }
}

/// Adds the shaders that a program asks for, with values stored in either precision.
fn add_program(asked: &mut BTreeSet<Shader>, program: &Program) {
    for program in [Precision::F32, Precision::F16].map(|precision| program.stored_in(precision)) {
        program.ops().iter().for_each(|op| add(asked, &op.kernel, &program.bindings(op)));
    }
}

/// Returns the programs of the goldens' networks.
fn goldens() -> Vec<Program> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let files = std::fs::read_dir(folder).expect("the goldens").map(|entry| entry.expect("a file").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    // Goldens of tables have no network.
    let networks = files.filter_map(|path| Network::open(path, None).ok());
    networks.map(|network| network.program(network.batch()).expect("a program")).collect()
}

/// Returns the programs of the models that the papers use.
fn models() -> Vec<Program> {
    let vit = r#"{"patch": 16, "dim": 768, "depth": 12, "heads": 12, "image": 224}"#;
    let models = [("resnet", r#"{"arch": "resnet50"}"#), ("vit", vit), ("unet", UnetConfig::RCDM_128)];
    let program = |(kind, config): (&str, &str)| {
        let model = Model::new(kind, config).expect("a model");
        let weights = Synthetic::new(model.tensors(224).expect("tensors"));
        model.program(&weights, 1, 224).expect("a program").0
    };
    models.map(program).into()
}

#[test]
fn the_build_validates_what_dispatches_ask_for() {
    let mut asked = BTreeSet::new();
    for case in super::every_case().iter().chain(&halves::cases()) {
        for precision in [Precision::F32, Precision::F16] {
            add(&mut asked, &case.kernel, &bindings(case, precision));
        }
    }
    let edges = edges().into_iter().chain(gpu_edges());
    edges.for_each(|kernel| add(&mut asked, &kernel, &kernel.parameters().bindings()));
    goldens().iter().chain(&models()).for_each(|program| add_program(&mut asked, program));

    let listed: BTreeSet<Shader> = variants().into_iter().collect();
    let missing: Vec<String> = asked.difference(&listed).map(Shader::label).collect();
    assert!(missing.is_empty(), "not validated by the build: {missing:#?}");
    println!("{} of {} variants are asked for", asked.len(), listed.len());
}
