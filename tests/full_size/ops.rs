//! The distinct ops of the released models, each once.

use std::sync::Arc;

use percept::Method;
use percept::Result;
use percept::diffusion::{NoiseFrom, SamplingLoop};
use percept::kernels::{Conv, FilmAffine, GroupAffine, Kernel, Load, RowSlice, ToRgba8};
use percept::models::{ResNetConfig, UnetConfig, VitConfig, resnet, vit};
use percept::program::{Graph, Program};
use percept::weights::tensors_of;
use percept_tests::unet_weights;
use percept_weights::hyperparameters::preset;

/// The ViT-B/16 of DINO.
const VIT_B_16: &str = r#"{"patch": 16, "dim": 768, "depth": 12, "heads": 12, "image": 224}"#;

/// The steps of the samplers. They only determine the number of rows of their tables.
pub const STEPS: usize = 25;

/// An op of a model.
pub struct ModelOp {
    /// The first model that has it.
    pub model: &'static str,
    /// The layer whose kernel this is.
    pub layer: String,
    /// The number of layers with an op of this shape, over all models.
    pub count: usize,
    /// The kernel, for one sample.
    pub kernel: Kernel,
}

/// Returns every distinct op of every model, those with the least work first.
pub fn distinct() -> Result<Vec<ModelOp>> {
    let mut ops: Vec<ModelOp> = Vec::new();
    for (model, programs, size) in programs()? {
        let of_programs = programs.iter().flat_map(|program| program.ops());
        let layers = of_programs.map(|op| (op.layer.clone(), op.kernel.clone()));
        let picture = size.map(|size| ToRgba8 { batch: 1, height: size, width: size }.into());
        for (layer, kernel) in layers.chain(picture.map(|kernel| ("picture".to_string(), kernel))) {
            match ops.iter_mut().find(|op| shape(&op.kernel) == shape(&kernel)) {
                Some(op) => {
                    op.count += 1;
                    // A wrong offset is most likely to miss the last of the rows that share a buffer.
                    if last_row(&kernel) > last_row(&op.kernel) && op.model == model {
                        (op.layer, op.kernel) = (layer, kernel);
                    }
                }
                None => ops.push(ModelOp { model, layer, count: 1, kernel }),
            }
        }
    }
    ops.sort_by_key(|op| work(&op.kernel));
    Ok(ops)
}

/// Estimates an op's cost: multiply-adds and elements moved.
pub fn work(kernel: &Kernel) -> u64 {
    let elements = kernel.parameters().bindings().iter().map(|binding| binding.shape.elements() as u64).sum::<u64>();
    kernel.parameters().multiply_adds() + elements
}

/// The programs of each model, and the side in pixels of the pictures that it makes.
type Programs = Vec<(&'static str, Vec<Arc<Program>>, Option<usize>)>;

fn programs() -> Result<Programs> {
    let rcdm = UnetConfig::from_json(UnetConfig::RCDM_128)?;
    let ddim = sampling(&rcdm, &Method::ddim(STEPS))?;
    Ok(vec![
        ("ResNet-50", vec![resnet_50()?], None),
        ("ViT-B/16", vec![vit_b_16()?], None),
        ("RCDM-128", vec![sampling(&rcdm, &Method::ddpm(STEPS))?, ddim], Some(rcdm.image_size)),
        ("upsampler-64-256", vec![upsampler("upsampler-64-256")?], Some(256)),
        ("upsampler-128-512", vec![upsampler("upsampler-128-512")?], Some(512)),
    ])
}

fn resnet_50() -> Result<Arc<Program>> {
    let config = ResNetConfig::named("resnet50")?;
    let mut g = Graph::new();
    tensors_of(|scope| {
        let image = g.input("image", [1, 224, 224, 3]);
        let values = resnet(&mut g, &config, scope, image)?;
        g.output("trunk", values.trunk);
        values.logits.iter().for_each(|logits| g.output("logits", *logits));
        Ok(())
    })?;
    Ok(Arc::new(g.finish()?))
}

fn vit_b_16() -> Result<Arc<Program>> {
    let config = VitConfig::from_json(VIT_B_16)?;
    let mut g = Graph::new();
    tensors_of(|scope| {
        let image = g.input("image", [1, 224, 224, 3]);
        let values = vit(&mut g, &config, scope, image)?;
        values.blocks.iter().for_each(|(name, value)| g.output(name, *value));
        g.output("trunk", values.trunk);
        g.output("tokens_mean", values.tokens_mean);
        g.output("patch_mean", values.patch_mean);
        Ok(())
    })?;
    Ok(Arc::new(g.finish()?))
}

/// Builds one of ADM's upsamplers as released.
fn upsampler(name: &str) -> Result<Arc<Program>> {
    let flags = serde_json::Value::Object(preset(name)?).to_string();
    sampling(&UnetConfig::of_kind("superres", &flags)?, &Method::ddpm(STEPS))
}

/// Builds the program that samples one picture.
fn sampling(config: &UnetConfig, method: &Method) -> Result<Arc<Program>> {
    Ok(SamplingLoop::new(&unet_weights(config)?, config, method, 1, NoiseFrom::Seed)?.program())
}

/// Returns the kernel without the position of its rows in the buffer that the rows of all layers share. Only
/// the remainders modulo 4 are kept.
fn shape(kernel: &Kernel) -> Kernel {
    let mut kernel = kernel.clone();
    rows_of(&mut kernel).into_iter().for_each(|rows| {
        *rows = RowSlice { row_length: rows.row_length % 4, offset: rows.offset % 4 };
    });
    kernel
}

/// Returns the largest offset of a kernel's rows.
fn last_row(kernel: &Kernel) -> usize {
    rows_of(&mut kernel.clone()).into_iter().map(|rows| rows.offset).max().unwrap_or(0)
}

/// Returns the kernel's slices of rows.
fn rows_of(kernel: &mut Kernel) -> Vec<&mut RowSlice> {
    match kernel {
        Kernel::Conv(Conv { load: Load::Affine { rows, .. }, add, .. }) => std::iter::once(rows).chain(add).collect(),
        Kernel::Conv(Conv { add, .. }) => add.iter_mut().collect(),
        Kernel::GroupAffine(GroupAffine { film, .. }) => film.iter_mut().collect(),
        Kernel::FilmAffine(FilmAffine { rows, film, .. }) => vec![rows, film],
        _ => Vec::new(),
    }
}
