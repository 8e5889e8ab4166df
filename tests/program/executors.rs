//! Tests that the CPU's executor agrees with the reference one, op by op.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use percept::device::Executor;
use percept::diffusion::Batch;
use percept::diffusion::Sampler;
use percept::kernels::{
    Activation, Advance, Attention, AvgPool, ChannelStats, Concat, Conv, DdimStep, DdpmStep, Dense, Embedding,
    FilmAffine, GroupAffine, Index, Kernel, LayerNorm, Load, MaxPool, Noise, NotFinite, Prediction, QkvOrder,
    ResizeBilinear, RowSlice, Stream, ToRgba8, Tokens,
};
use percept::program::{Graph, Program, Role, Value, ValueId};
use percept::weights::{Recipe, Synthetic, WeightSource};
use percept::{DType, Shape};
use percept::{Device, Method};
use percept_tests::{SplitMix, read_output, relative_error};

use crate::models::{Model, demo_encoder, golden};

/// The largest allowed difference between a value of the CPU and of the reference, in the 2-norm, anywhere in a
/// program.
///
/// The roundings of a sum of n terms add up like a random walk of n steps of at most half a unit in the last
/// place, 6e-8 sqrt(n): 3e-6 for the 2,304 terms of the longest sum here. Later ops carry the errors of earlier
/// ones on, which explains the factor of 3. One wrong element among the 65,536 of the largest value would be an
/// error of 4e-3.
const BOUND: f64 = 1e-5;

/// Returns the same program with every op's results as additional outputs. The first result of op 3 is called
/// `3.0`. The start of a carry is not an output, because it becomes the value that the first step reads.
fn with_every_output(program: &Program) -> Arc<Program> {
    fn known(ids: &[Option<ValueId>], id: ValueId) -> ValueId {
        ids[id.index()].expect("a value that was made before")
    }
    let mut g = Graph::new();
    let mut made = |value: &Value| match (&value.role, value.dtype) {
        (Role::Input, DType::F32 | DType::F16) => Some(g.input(&value.name, value.shape)),
        (Role::Input, DType::U32) => Some(g.input_u32(&value.name, value.shape)),
        (Role::Weight(recipe), _) => Some(g.weight(recipe.clone())),
        (Role::Activation, _) => None,
    };
    let mut ids: Vec<Option<ValueId>> = program.values().iter().map(&mut made).collect();
    for (index, op) in program.ops().iter().enumerate() {
        if index == program.body().start {
            g.begin_body();
        }
        let reads: Vec<ValueId> = op.reads.iter().map(|id| known(&ids, *id)).collect();
        let written = g.op(&op.layer, op.kernel.clone(), &reads).expect("an op that was one before");
        for (place, (old, new)) in op.writes.iter().zip(written).enumerate() {
            ids[old.index()] = Some(new);
            if program.carries().iter().all(|carry| carry.start != Some(*old)) {
                g.output(&format!("{index}.{place}"), new);
            }
        }
    }
    for carry in program.carries() {
        let start = carry.start.map(|start| known(&ids, start));
        g.carry(known(&ids, carry.held), known(&ids, carry.next), start).expect("a carry");
    }
    program.outputs().iter().for_each(|(name, id)| g.output(name, known(&ids, *id)));
    Arc::new(g.finish().expect("a program"))
}

fn load(program: &Arc<Program>, weights: &dyn WeightSource) -> [Box<dyn Executor>; 2] {
    let devices = [Device::reference(), Device::cpu().expect("a CPU")];
    devices.map(|device| device.load(program.clone(), weights).expect("an executor"))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Returns the relative error of the values; for words, 0 if they are equal and infinity otherwise.
fn error(dtype: DType, got: &[f32], want: &[f32]) -> f64 {
    match dtype {
        DType::F32 | DType::F16 => relative_error(got, want),
        DType::U32 if bits(got) == bits(want) => 0.0,
        DType::U32 => f64::INFINITY,
    }
}

/// Runs the ops one by one on both executors and compares their results. Returns the kernels' names.
fn assert_agree(name: &str, program: &Program, executors: &mut [Box<dyn Executor>; 2]) -> BTreeSet<&'static str> {
    let mut kernels = BTreeSet::new();
    let mut worst = 0.0f64;
    for (index, op) in program.ops().iter().enumerate() {
        kernels.insert(op.kernel.name());
        executors.iter_mut().for_each(|executor| executor.run(index..index + 1).expect("a run"));
        for (place, id) in op.writes.iter().enumerate() {
            let output = format!("{index}.{place}");
            if program.output(&output).is_err() {
                continue;
            }
            let [want, got] =
                executors.each_mut().map(|executor| read_output(executor.as_mut(), &output).expect("an output"));
            let at = format!("{name}: op {index}, {} {:?}", op.layer, op.kernel);
            // Only `not_finite` writes nothing but zeros, because all values are finite.
            let is_zero = bits(&want).iter().all(|&word| word == 0);
            assert_eq!(is_zero, matches!(op.kernel, Kernel::NotFinite(_)), "{at}: nothing but zeros?");
            let error = error(program.value(*id).dtype, &got, &want);
            assert!(error <= BOUND, "{at}: error {error:e}");
            worst = worst.max(error);
        }
    }
    println!("{name}: {} ops, worst error {worst:.1e}", program.ops().len());
    kernels
}

#[test]
fn networks_agree_op_by_op() {
    let cases = [
        ("basic blocks", demo_encoder(), [2, 64, 64, 3]),
        ("resnet18", golden("resnet18_64"), [1, 33, 47, 3]),
        ("resnet50", golden("resnet50_224"), [1, 32, 32, 3]),
    ];
    for (name, model, image) in cases {
        assert_networks_agree(name, &model, &model.resnet(image), image);
    }
    let cases = [
        ("vit", golden("vit_tiny_p16_96"), [2, 96, 96, 3]),
        ("dinov2", golden("dinov2_reg4_p14_70x84"), [1, 70, 84, 3]),
    ];
    for (name, model, image) in cases {
        assert_networks_agree(name, &model, &model.vit(image), image);
    }
}

fn assert_networks_agree(name: &str, model: &Model, program: &Program, image: [usize; 4]) {
    let program = with_every_output(program);
    let mut executors = load(&program, model.weights.as_ref());
    let pixels = SplitMix::new(1).floats(image.iter().product());
    executors.iter_mut().for_each(|executor| executor.write("image", &pixels).expect("an image"));
    assert_agree(name, &program, &mut executors);
}

#[test]
fn samplers_agree_op_by_op() {
    let cases = [
        ("unet_rcdm_32_cbn_sn", Method::ddim(5)),
        ("unet_adm_classcond_32", Method::ddpm(10)),
        ("sampler_predict_xstart_8", Method { sampler: Sampler::Ddim { eta: 0.5 }, ..Method::ddim(5) }),
    ];
    for (name, method) in cases {
        let model = golden(name);
        let config = model.unet_config();
        let sampling = model.sampling(&method, 2);
        let program = with_every_output(&sampling.program());
        let mut executors = load(&program, model.weights.as_ref());
        let feat = SplitMix::new(2).floats(2 * config.ssl_dim);
        let labels = if config.classes() > 0 { vec![3, 1] } else { Vec::new() };
        let batch = Batch { feat: &feat, labels: &labels, seed: 9, ..Batch::default() };
        // One step writes all inputs. The prologue and the second step are compared.
        for executor in &mut executors {
            sampling.run(executor.as_mut(), &batch, &mut |_, _| Ok(ControlFlow::Break(()))).expect("a step");
        }
        assert_agree(name, &program, &mut executors);
    }
}

/// Builds a loop with every kernel. Its prologue draws the image that the loop starts with.
fn every_kernel() -> percept::Result<(Program, Synthetic)> {
    let mut shapes: Vec<(&str, Shape)> = Vec::new();
    let mut g = Graph::new();
    let mut matrix = |g: &mut Graph, name: &'static str, depth: usize, columns: usize| {
        shapes.push((name, Shape::from([columns, depth])));
        g.weight(Recipe::matrix(name.to_string(), depth, columns))
    };
    let (state, x) = (g.input_u32("state", [4]), g.input("x", [2, 6, 5, 4]));
    let (times, ddpm, ddim) = (g.input("times", [3, 8]), g.input("ddpm", [3, 7]), g.input("ddim", [3, 5]));
    let (gamma, beta) = (g.input("gamma", [8]), g.input("beta", [8]));
    let colours = g.input("colours", [2, 6, 5, 3]);
    let (positions, prefix) = (g.input("positions", [30, 8]), g.input("prefix", [2, 8]));
    let start = g.op1("start", Noise { batch: 2, sample: [6, 5, 4], stream: Stream::Start }, &[state])?;
    g.begin_body();
    let (batch, height, width) = (2, 6, 5);
    let lookup = Embedding { table_rows: 3, channels: 8, batch, index: Index::Step };
    let time = g.op1("time", lookup, &[times, state])?;
    let dense =
        Dense { rows: 2, in_features: 8, out_features: 19, bias: false, residual: false, activation: Activation::Silu };
    let weight = matrix(&mut g, "emb.weight", 8, 19);
    let emb = g.op1("emb", dense, &[time, weight])?;
    let emb_rows = RowSlice { row_length: 19, offset: 3 };

    let weight = matrix(&mut g, "first.weight", 36, 8);
    let first = Conv { add: Some(RowSlice { offset: 11, ..emb_rows }), ..Conv::new([batch, height, width, 4], 8, 3) };
    let y = g.op1("first", first, &[x, weight, emb])?;
    let stats = g.op1("stats", ChannelStats { batch, height, width, channels: 8, tile: 7 }, &[y])?;
    let norm = GroupAffine { batch, pixels: 30, tile: 7, channels: [8, 0], groups: 4, eps: 1e-5, film: Some(emb_rows) };
    let rows = g.op1("norm", norm, &[stats, gamma, beta, emb])?;
    let own_rows = RowSlice { row_length: 16, offset: 0 };
    let film = g.op1("film", FilmAffine { batch, channels: 8, rows: own_rows, film: emb_rows }, &[rows, emb])?;
    let load = Load::Affine { rows: own_rows, activation: Activation::Silu };
    let mean = AvgPool { batch, height, width, channels: 8, kernel: [2, 2], load };
    let mean = g.op1("mean", mean, &[y, film])?;
    let both = g.op1("both", Concat { batch, height, width, channels: [8, 4] }, &[y, x])?;
    let most = MaxPool { batch, height, width, channels: 12, kernel: [3, 3], stride: 2, padding: 1 };
    let most = g.op1("most", most, &[both])?;
    let resize = ResizeBilinear { batch, height, width, channels: 3, out_height: 9, out_width: 4 };
    let resized = g.op1("resize", resize, &[colours])?;
    let weight = matrix(&mut g, "qkv.weight", 12, 24);
    let qkv = Conv { in_channels: [8, 4], ..Conv::new([batch, height, width, 8], 24, 1) };
    let qkv = g.op1("qkv", qkv, &[y, x, weight])?;
    let attention = Attention { batch, height, width, heads: 2, head_channels: 4, order: QkvOrder::QkvFirst };
    let attended = g.op1("attention", attention, &[qkv])?;
    let tokens = Tokens { batch, height, width, channels: 8, prefix: 2, own_prefix: false };
    let tokens = g.op1("tokens", tokens, &[attended, positions, prefix])?;
    let layer_norm = LayerNorm { batch, tokens: 32, first: 1, count: 31, channels: 8, eps: 1e-6 };
    let normed = g.op1("layer_norm", layer_norm, &[tokens, gamma, beta])?;
    let weight = matrix(&mut g, "last.weight", 72, 8);
    let last = Conv { load, residual: Some(1), stats: Some(7), ..Conv::new([batch, height, width, 8], 8, 3) };
    let output = g.op1("last", last, &[y, film, weight, attended])?;

    let noise = g.op1("noise", Noise { batch, sample: [6, 5, 4], stream: Stream::Step }, &[state])?;
    let (channels, steps, learned_variance) = (4, 3, true);
    let (predict, clip) = (Prediction::Epsilon, true);
    let step = DdpmStep { batch, height, width, channels, steps, learned_variance, predict, clip };
    let ancestral = g.op("ddpm", step, &[x, output, noise, ddpm, state])?;
    let step = DdimStep { batch, height, width, channels, steps, learned_variance, predict, clip, noise: true };
    let implicit = g.op("ddim", step, &[x, output, noise, ddim, state])?;
    let not_finite = g.op1("not_finite", NotFinite { batch, height, width, channels }, &[implicit[0]])?;
    let pictures = g.op1("to_rgba8", ToRgba8 { batch, height, width }, &[colours])?;
    let next = g.op1("advance", Advance {}, &[state])?;
    g.carry(x, implicit[0], Some(start))?;
    g.carry(state, next, None)?;
    let outputs =
        [("mean", mean), ("most", most), ("normed", normed), ("resized", resized), ("ancestral", ancestral[0])];
    for (name, id) in outputs.into_iter().chain([("not_finite", not_finite), ("pictures", pictures)]) {
        g.output(name, id);
    }
    let shapes = shapes.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect();
    Ok((g.finish()?, Synthetic::new(shapes)))
}

#[test]
fn every_kernel_agrees_over_three_steps() {
    let (program, weights) = every_kernel().expect("a program");
    let program = with_every_output(&program);
    let mut executors = load(&program, &weights);
    for executor in &mut executors {
        let mut random = SplitMix::new(3);
        // The coefficients of both samplers stay away from 0, since DDIM divides by some.
        let of_the_step = [("times", 24), ("ddpm", 21), ("ddim", 15)];
        let others = [("gamma", 8), ("beta", 8), ("colours", 180), ("positions", 240), ("prefix", 16)];
        for (input, count) in of_the_step.into_iter().chain(others) {
            let values: Vec<f32> = (0..count).map(|_| 0.75 + 0.25 * random.float()).collect();
            executor.write(input, &values).expect("an input");
        }
        executor.write_u32("state", &[0, 5, 7, 8]).expect("a state");
    }
    let kernels = assert_agree("every kernel", &program, &mut executors);
    for step in 1..3 {
        executors.iter_mut().for_each(|executor| executor.run(program.body()).expect("a step"));
        for (output, id) in program.outputs() {
            let [want, got] =
                executors.each_mut().map(|executor| read_output(executor.as_mut(), output).expect("an output"));
            let error = error(program.value(*id).dtype, &got, &want);
            assert!(error <= BOUND, "step {step}, output {output}: {error:e}");
        }
    }
    // One arm for each variant of `Kernel`, so that a new kernel must be added here.
    let all = program.ops().iter().map(|op| match op.kernel {
        Kernel::Conv(_) => "conv",
        Kernel::Dense(_) => "dense",
        Kernel::Attention(_) => "attention",
        Kernel::AvgPool(_) => "avg_pool",
        Kernel::ChannelStats(_) => "channel_stats",
        Kernel::Concat(_) => "concat",
        Kernel::FilmAffine(_) => "film_affine",
        Kernel::GroupAffine(_) => "group_affine",
        Kernel::LayerNorm(_) => "layer_norm",
        Kernel::MaxPool(_) => "max_pool",
        Kernel::Advance(_) => "advance",
        Kernel::DdimStep(_) => "ddim_step",
        Kernel::DdpmStep(_) => "ddpm_step",
        Kernel::Embedding(_) => "embedding",
        Kernel::Noise(_) => "noise",
        Kernel::NotFinite(_) => "not_finite",
        Kernel::ResizeBilinear(_) => "resize_bilinear",
        Kernel::ToRgba8(_) => "to_rgba8",
        Kernel::Tokens(_) => "tokens",
    });
    assert_eq!(all.collect::<BTreeSet<_>>(), kernels);
    assert_eq!(kernels.len(), 19);
}
