//! What the benchmarks share: the models that are timed, the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use percept::device::Executor;
use percept::models::{self, UnetConfig};
use percept::program::{Graph, Op, Program, Role, Value, ValueId};
use percept::weights::Synthetic;
use percept::{DType, Result};

/// A model to be timed.
pub struct Model {
    /// What to call it.
    pub name: &'static str,
    /// One forward pass.
    pub program: Arc<Program>,
    /// Made-up weights.
    pub weights: Synthetic,
}

/// The flags of a small RCDM, of images of 32 pixels, as it was released: told h by the time embedding.
const RCDM_32: &str = r#"{"image_size": 32, "num_channels": 32, "num_res_blocks": 1, "num_heads": 4,
    "attention_resolutions": "8", "channel_mult": "1,2,4", "resblock_updown": true,
    "use_scale_shift_norm": true, "learn_sigma": true, "ssl_dim": 256, "conditioning": "time_embedding"}"#;

/// A model by its kind and flags, as goldens have them.
pub struct Flags {
    /// What to call it.
    pub name: &'static str,
    /// `resnet`, `vit`, `unet` or `superres`.
    pub kind: &'static str,
    /// JSON.
    pub config: &'static str,
}

/// The models that research uses as encoder, decoder and upsampler; the flags of ADM are those of its release.
pub const FAMILY: [Flags; 5] = [
    Flags { name: "ResNet-50", kind: "resnet", config: r#"{"arch": "resnet50"}"# },
    Flags {
        name: "ViT-B/16",
        kind: "vit",
        config: r#"{"patch": 16, "dim": 768, "depth": 12, "heads": 12, "ln_eps": 1e-6, "image": 224}"#,
    },
    Flags { name: "RCDM-128", kind: "unet", config: UnetConfig::RCDM_128 },
    Flags {
        name: "ADM-256",
        kind: "unet",
        config: r#"{"image_size": 256, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64,
            "channel_mult": "1,1,2,2,4,4", "resblock_updown": true, "attention_resolutions": "32,16,8",
            "use_scale_shift_norm": true, "learn_sigma": true, "class_cond": true, "num_classes": 1000,
            "conditioning": "none", "ssl_dim": 0}"#,
    },
    Flags {
        name: "upsampler 128-512",
        kind: "superres",
        config: r#"{"small_size": 128, "large_size": 512, "num_channels": 192, "num_res_blocks": 2,
            "num_head_channels": 64, "channel_mult": "1,1,2,2,4,4", "attention_resolutions": "32,16",
            "resblock_updown": true, "use_scale_shift_norm": true, "learn_sigma": true, "num_classes": 0,
            "conditioning": "none", "ssl_dim": 0}"#,
    },
];

/// The models that are timed in parts: RCDM-128, ResNet-50 and a small RCDM.
///
/// # Errors
/// Never: the configurations are ours.
pub fn models() -> Result<Vec<Model>> {
    let resnet_50 = Flags { name: "ResNet-50 at 224, batch 1", ..FAMILY[0] };
    Ok(vec![
        model_of(&Flags { name: "RCDM-32, batch 8", kind: "unet", config: RCDM_32 }, 8)?,
        model_of(&resnet_50, 1)?,
        model_of(&Flags { name: "RCDM-128, batch 1", kind: "unet", config: UnetConfig::RCDM_128 }, 1)?,
    ])
}

/// A model with made-up weights, for a batch of samples; encoders' images have 224 pixels a side.
///
/// # Errors
/// If the flags make no model.
pub fn model_of(flags: &Flags, batch: usize) -> Result<Model> {
    let model = models::Model::new(flags.kind, flags.config)?;
    let weights = Synthetic::new(model.tensors(224)?);
    let (program, _) = model.program(&weights, batch, 224)?;
    Ok(Model { name: flags.name, program: Arc::new(program), weights })
}

/// The op of a program alone, on inputs of its own; weights are those of the program.
///
/// # Errors
/// Never: it was an op before.
pub fn one_op(program: &Program, op: &Op) -> Result<Program> {
    let mut g = Graph::new();
    let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for id in &op.reads {
        let value = program.value(*id);
        made.entry(*id).or_insert_with(|| match (&value.role, value.dtype) {
            (Role::Weight(recipe), _) => g.weight(recipe.clone()),
            (_, DType::F32 | DType::F16) => g.input(&id.index().to_string(), value.shape),
            (_, DType::U32) => g.input_u32(&id.index().to_string(), value.shape),
        });
    }
    let reads: Vec<ValueId> = op.reads.iter().map(|id| made[id]).collect();
    for (index, written) in g.op(&op.layer, op.kernel.clone(), &reads)?.into_iter().enumerate() {
        g.output(&index.to_string(), written);
    }
    g.finish()
}

/// Writes numbers in [-1, 1) to all inputs of `f32`, so that no product of them is denormal or infinite.
///
/// # Errors
/// Where the device fails.
pub fn write_numbers(executor: &mut dyn Executor) -> Result<()> {
    let is_floats = |value: &&Value| (&value.role, value.dtype) == (&Role::Input, DType::F32);
    let inputs = executor.program().values().iter().filter(is_floats);
    let inputs: Vec<(String, usize)> = inputs.map(|value| (value.name.clone(), value.shape.elements())).collect();
    for (name, elements) in inputs {
        let numbers: Vec<f32> = (0..elements).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        executor.write(&name, &numbers)?;
    }
    Ok(())
}

/// Seconds of one call of each of several things, the median of `runs` rounds in which they take turns.
pub fn medians<const N: usize>(runs: usize, mut things: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut seconds: [Vec<f64>; N] = [const { Vec::new() }; N];
    // One round to warm up, which does not count.
    for round in 0..=runs {
        for (thing, seconds) in things.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            thing();
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    })
}

/// The machine, as far as it tells.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {threads} threads", model.trim_start_matches([' ', '\t', ':']))
}
