//! Tests that `Program::up_to` drops everything that the requested outputs do not need, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use percept::Error;
use percept::diffusion::Batch;
use percept::kernels::Advance;
use percept::program::{Graph, Program, Role};
use percept::{Device, Method};
use percept_tests::SplitMix;

use crate::models::{demo_encoder, golden};

/// Returns the numbers of ops, weights and inputs of a program.
fn counts(program: &Program) -> [usize; 3] {
    let count = |wanted: fn(&Role) -> bool| program.values().iter().filter(|value| wanted(&value.role)).count();
    [program.ops().len(), count(|role| matches!(role, Role::Weight(_))), count(|role| *role == Role::Input)]
}

#[test]
fn a_resnet_cut_at_a_layer_has_the_layers_below_it() {
    // A convolution has two weights, its matrix and its bias; pooling has none.
    let basic = [("stem", 2, 2), ("layer1", 4, 6), ("layer2", 7, 12), ("layer3", 10, 18), ("layer4", 13, 24)];
    // Basic blocks 2, 2, 2, 2: two more convolutions in each stage.
    let deeper = [("stem", 2, 2), ("layer1", 6, 10), ("layer2", 11, 20), ("layer3", 16, 30), ("layer4", 21, 40)];
    // Bottlenecks 3, 4, 6, 3: three convolutions in a block, and one more in the first of each stage.
    let bottlenecks = [("stem", 2, 2), ("layer1", 12, 22), ("layer2", 25, 48), ("layer3", 44, 86), ("layer4", 54, 106)];
    for (model, stages) in
        [(demo_encoder(), basic), (golden("resnet18_64"), deeper), (golden("resnet50_224"), bottlenecks)]
    {
        let program = model.resnet([1, 64, 64, 3]);
        let cut = |name: &str| counts(&program.up_to(&[name]).expect("a layer"));
        for (stage, ops, weights) in stages {
            assert_eq!(cut(stage), [ops, weights, 1], "{stage}");
        }
        let (_, ops, weights) = stages[4];
        assert_eq!(cut("trunk"), [ops + 1, weights, 1]);
        if program.output("logits").is_ok() {
            assert_eq!(cut("logits"), [ops + 2, weights + 2, 1]);
            assert_eq!(cut("logits"), counts(&program));
        }
        // Two outputs need everything that either needs.
        let both = program.up_to(&["layer2", "stem"]).expect("two layers");
        assert_eq!(counts(&both)[0], stages[2].1);
        assert_eq!(both.outputs().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["layer2", "stem"]);
        assert!(both.memory().total() < program.memory().total());
    }
}

#[test]
fn what_is_left_has_the_same_values() {
    let model = demo_encoder();
    let whole = model.resnet([1, 64, 64, 3]);
    let image = SplitMix::new(5).floats(64 * 64 * 3);
    let run = |program: Arc<Program>, name: &str| {
        let mut executor = Device::reference().load(program.clone(), model.weights.as_ref()).expect("an executor");
        executor.write("image", &image).expect("an image");
        executor.run(program.body()).expect("a run");
        executor.read(name).expect("an output")
    };
    for name in ["stem", "layer2", "trunk"] {
        let got = run(Arc::new(whole.up_to(&[name]).expect("a layer")), name);
        assert_eq!(got, run(whole.clone(), name), "{name}");
        assert!(got.iter().any(|x| *x != 0.0) && got.iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn an_unknown_output_is_an_error_that_names_those_there_are() {
    let program = demo_encoder().resnet([1, 64, 64, 3]);
    for names in [&["layer5"][..], &["stem", "layer5"]] {
        match program.up_to(names) {
            Err(Error::Config(mismatch)) => {
                assert_eq!((mismatch.at.as_str(), mismatch.got.as_str()), ("output", "layer5"));
                for name in ["stem", "layer1", "layer4", "trunk"] {
                    assert!(mismatch.expected.contains(&format!("{name:?}")), "{mismatch}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_sampler_cut_to_its_prediction_is_still_a_sampler() {
    let model = golden("sampler_fixed_large_8");
    let sampling = model.sampling(&Method::ddpm(3), 1);
    let whole = sampling.program();
    let cut = Arc::new(whole.up_to(&["x_0"]).expect("an output"));
    // All kernels except the test for NaN, whose words no op reads.
    let kernels = |program: &Program| -> Vec<&'static str> {
        program.ops().iter().map(|op| op.kernel.name()).filter(|name| *name != "not_finite").collect()
    };
    assert_eq!((cut.carries().len(), cut.prologue()), (2, whole.prologue()));
    assert_eq!((cut.body().len() + 1, kernels(&cut)), (whole.body().len(), kernels(&whole)));

    let feat = SplitMix::new(6).floats(model.unet_config().ssl_dim);
    let batch = Batch { feat: &feat, seed: 4, ..Batch::default() };
    let mut executor = Device::cpu().expect("a CPU").load(whole.clone(), model.weights.as_ref()).expect("an executor");
    let mut predictions = Vec::new();
    let recorded = sampling.run(executor.as_mut(), &batch, &mut |executor, _| {
        predictions.push(executor.read("x_0")?);
        Ok(std::ops::ControlFlow::Continue(()))
    });
    recorded.expect("a run");
    // All three steps predict different images.
    assert_eq!(predictions.iter().map(|p| format!("{p:?}")).collect::<BTreeSet<_>>().len(), 3);

    // The values that `SamplingLoop::run` wrote are still there. Only the state is written again, because a
    // whole run begins at step 0.
    let mut short = Device::cpu().expect("a CPU").load(cut.clone(), model.weights.as_ref()).expect("an executor");
    let written = sampling.run(short.as_mut(), &batch, &mut |_, _| Ok(std::ops::ControlFlow::Continue(())));
    let told = written.expect_err("sampling reads what is no output any more").to_string();
    assert_eq!(told, r#"output: expected one of ["x_0"], got not_finite"#);
    short.write_u32("state", &percept::diffusion::noise::state(0, 0, 4)).expect("a state");
    short.run(cut.prologue()).expect("a prologue");
    for want in predictions {
        short.run(cut.body()).expect("a step");
        assert_eq!(short.read("x_0").expect("an output"), want);
    }
}

/// Builds a program of four counters. The first takes its next value from the second, the second from the
/// third, and the other two from themselves.
fn chain() -> Program {
    let mut g = Graph::new();
    let held = ["a", "b", "c", "alone"].map(|name| g.input_u32(name, [4]));
    let origin = g.input_u32("origin", [4]);
    let start = g.op1("start", Advance {}, &[origin]).expect("an op");
    g.begin_body();
    let next = [held[1], held[2], held[2], held[3]].map(|id| g.op1("count", Advance {}, &[id]).expect("an op"));
    for (index, (held, next)) in held.into_iter().zip(next).enumerate() {
        g.carry(held, next, (index == 2).then_some(start)).expect("a carry");
        g.output(["a", "b", "c", "alone"][index], next);
    }
    g.finish().expect("a program")
}

#[test]
fn carries_are_kept_along_a_chain_and_dropped_where_nothing_needs_them() {
    let whole = chain();
    // Nothing reads the carry of a, so not even the whole program needs it.
    assert_eq!((whole.carries().len(), counts(&whole)), (3, [5, 0, 4]));
    // The prologue computes the start of c.
    let cuts = [("a", 2, 1, 3, 3), ("b", 1, 1, 2, 2), ("c", 1, 1, 1, 2), ("alone", 1, 0, 1, 1)];
    for (output, carries, prologue, body, inputs) in cuts {
        let cut = whole.up_to(&[output]).expect("an output");
        assert_eq!(cut.carries().len(), carries, "{output}");
        assert_eq!((cut.prologue(), cut.body()), (0..prologue, prologue..prologue + body), "{output}");
        assert_eq!(counts(&cut), [prologue + body, 0, inputs], "{output}");
    }
}
