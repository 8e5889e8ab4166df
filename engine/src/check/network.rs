//! The networks of goldens and model files.

use std::path::Path;

use super::golden::Golden;
use super::input::{Data, Input, made_up};
use crate::device::Executor;
use crate::images::Preprocessing;
use crate::models::{Model, UnetConfig};
use crate::program::{Graph, Program};
use crate::tensor::DType;
use crate::weights::{Checkpoint, OpenModel, WeightSource};
use crate::{Error, Result};

/// The network of a golden or a model file: its program for any batch size, its weights, and its inputs. It serves to
/// measure the network's cost; [`check`](super::check) compares its results.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use percept::check::Network;
/// use percept::Device;
///
/// let network = Network::open(Path::new("../examples/assets/head.safetensors"), None)?;
/// let program = Arc::new(network.program(2)?);
/// let mut executor = Device::cpu()?.load(program.clone(), network.weights())?;
/// network.write_inputs(executor.as_mut())?;
/// executor.run(program.body())?;
/// assert_eq!(executor.read("out.head")?.len(), 2 * 256);
/// # Ok::<(), percept::Error>(())
/// ```
pub struct Network {
    model: Model,
    weights: Box<dyn WeightSource>,
    inputs: Vec<Input>,
}

impl Network {
    /// Opens a golden with its inputs, or a model file with made-up inputs for one sample. A golden is of kind
    /// `resnet`, `vit`, `head`, `unet`, `superres`, `classifier` or `sampler`. A model file is of any of these kinds
    /// but the last. The network of a `sampler` is the UNet or the upsampler at its first timestep.
    ///
    /// `size` is the height and width of the images for an encoder's model file. If it is `None`, the size is that of
    /// the preprocessing that the file names, or 224 if it names none.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file is neither, [`Error::Config`] if `size` is given for anything but an
    /// encoder's model file, and other errors if inputs or weights are missing, or the configuration is invalid.
    pub fn open(path: impl AsRef<Path>, size: Option<usize>) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenModel::open(path)?;
        if file.metadata("percept.kind").is_some() {
            return Network::of_model(file, size);
        }
        let Some(kind) = file.metadata("kind").map(str::to_string) else {
            let expected = "a golden or a model file: metadata \"kind\" or \"percept.kind\"";
            return Err(Error::file(file.name(), expected, "neither"));
        };
        match size {
            None => Network::of_golden(&Golden::of(path, file), &kind),
            Some(size) => Err(Error::config("size", "none for a golden, whose images have their size", size)),
        }
    }

    /// Opens a golden's network, with the golden's inputs.
    pub(super) fn of_golden(golden: &Golden, kind: &str) -> Result<Self> {
        let is_run = kind == "sampler";
        let model = match kind {
            "sampler" => match UnetConfig::of_kind(kind, golden.config()?)? {
                config if config.small_size > 0 => Model::Superres(Box::new(config)),
                config => Model::Unet(Box::new(config)),
            },
            _ if Model::KINDS.contains(&kind) => Model::new(kind, golden.config()?)?,
            other => {
                let expected = format!("a golden of a network: kind {} or sampler", Model::KINDS.join(", "));
                return Err(Error::file(golden.name(), expected, format!("kind {other:?}")));
            }
        };
        let mut inputs = Vec::new();
        // Only the names are used here. The shapes come from the golden, so batch size and image size do not matter.
        for input in model.inputs(1, 1)? {
            inputs.push(match input.name {
                "image" => Input::image("image", golden, "in.image")?,
                "x" => Input::image("x", golden, if is_run { "in.xT" } else { "in.x" })?,
                "low_res" => Input::image("low_res", golden, "in.low_res")?,
                "labels" => Input::labels(golden.integers("in.y")?),
                "time" if is_run => Input::time(&model, &[noisiest(&model)]),
                "time" => Input::time(&model, &golden.tensor("in.t")?.into_data()),
                name => Input::rows(name, golden, &format!("in.{name}"))?,
            });
        }
        let samples = inputs[0].shape[0];
        // In a sampling run, all samples share one timestep.
        let odd = inputs.iter().find(|input| input.shape[0] != samples && !(is_run && input.name == "time"));
        if let Some(odd) = odd {
            let at = format!("{}: {}", golden.name(), odd.name);
            return Err(Error::shape(at, format!("{samples} samples, as {} has", inputs[0].name), odd.shape));
        }
        Ok(Network { model, weights: golden.weights()?, inputs })
    }

    /// Opens a model file's network, with made-up inputs for one sample.
    fn of_model(file: OpenModel, size: Option<usize>) -> Result<Self> {
        let model = Model::of_file(&file)?;
        if let (Some(size), false) = (size, model.is_encoder()) {
            let expected = format!("none but for an encoder, a resnet or vit: {} is a {}", file.name(), model.kind());
            return Err(Error::config("size", expected, size));
        }
        let size = match size {
            Some(size) => size,
            None => Preprocessing::named_by(&file)?.unwrap_or_default().size() as usize,
        };
        Network::of_weights(model, Box::new(file), size)
    }

    /// Creates the network of a model with the given weights, and made-up inputs for one sample. `size` is the height
    /// and width of an encoder's images.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if an input has more elements than a shape can have.
    pub fn of_weights(model: Model, weights: Box<dyn WeightSource>, size: usize) -> Result<Self> {
        let inputs = model.inputs(1, size)?.into_iter().map(|input| match (input.name, input.dtype) {
            ("time", _) => Input::time(&model, &[noisiest(&model)]),
            (_, DType::U32) => Input::labels(vec![0]),
            _ => Input { name: input.name, shape: input.shape, data: Data::MadeUp },
        });
        let inputs = inputs.collect();
        Ok(Network { model, weights, inputs })
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the number of samples in a golden, or 1 for a model file.
    pub fn batch(&self) -> usize {
        self.inputs.first().map_or(1, |input| input.shape[0])
    }

    /// Returns the weights to load [`Network::program`] with.
    pub fn weights(&self) -> &dyn WeightSource {
        self.weights.as_ref()
    }

    /// Builds the program of one forward pass for `batch` samples, with the outputs of the network:
    ///
    /// - ResNet: `out.trunk`, and `out.logits` if it has an `fc`
    /// - vision transformer: `out.trunk`, `out.tokens_mean` and `out.patch_mean`
    /// - head: `out.head`
    /// - UNet or upsampler: `out.eps_and_var`
    /// - classifier: `out.logits`
    ///
    /// # Errors
    /// Returns an error if the weights do not match the configuration, or a value would have more elements than a
    /// kernel can index.
    pub fn program(&self, batch: usize) -> Result<Program> {
        let program = self.program_with_taps(batch)?;
        let names: Vec<&str> = program.outputs().iter().map(|(name, _)| name.as_str()).collect();
        program.up_to(&names.into_iter().filter(|name| name.starts_with("out.")).collect::<Vec<_>>())
    }

    /// Builds the program like [`Network::program`], with the layers that goldens compare as additional outputs
    /// `tap.*`.
    pub(super) fn program_with_taps(&self, batch: usize) -> Result<Program> {
        let mut g = Graph::new();
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let shape = input.shape_of(batch)?;
            inputs.push(match input.data {
                Data::Floats(_) | Data::MadeUp => g.input(input.name, shape),
                Data::Words(_) => g.input_u32(input.name, shape),
            });
        }
        let checkpoint = Checkpoint::new(self.weights());
        let values = self.model.build(&mut g, &checkpoint.root(), &inputs)?;
        values.outputs.iter().for_each(|(name, value)| g.output(&format!("out.{name}"), *value));
        values.layers.iter().for_each(|(name, value)| g.output(&format!("tap.{name}"), *value));
        checkpoint.finish(&format!("a {} of its configuration", self.model.kind()))?;
        g.finish()
    }

    /// Writes the inputs of this network's program, for any batch size.
    ///
    /// # Errors
    /// Same as [`Executor::write`].
    pub fn write_inputs(&self, executor: &mut dyn Executor) -> Result<()> {
        for input in &self.inputs {
            let program = executor.program();
            let elements = program.value(program.input(input.name)?).shape.elements();
            match &input.data {
                Data::Floats(data) => executor.write(input.name, &repeated(data, elements))?,
                Data::Words(data) => executor.write_u32(input.name, &repeated(data, elements))?,
                Data::MadeUp => executor.write(input.name, &repeated(&made_up(input.shape.elements()), elements))?,
            }
        }
        Ok(())
    }
}

/// Returns the timestep at which sampling begins.
fn noisiest(model: &Model) -> f32 {
    model.unet_config().map_or(0.0, |config| (config.diffusion_steps - 1) as f32)
}

fn repeated<T: Copy>(data: &[T], elements: usize) -> Vec<T> {
    data.iter().copied().cycle().take(elements).collect()
}
