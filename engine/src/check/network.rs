//! The networks of goldens and model files, as programs with something to run them on.

use std::path::Path;

use super::golden::Golden;
use super::input::{Data, Input, made_up};
use crate::models::{self, ClassifierConfig, HeadConfig, ResNetConfig, UnetConfig, VitConfig};
use crate::pipeline::{MappedModel, Preprocessing, open_model};
use crate::program::{Executor, Graph, Program, ValueId};
use crate::weights::{Checkpoint, WeightSource, kind_and_config};
use crate::{Error, Result};

/// The network of a golden or of a model file: its program for any batch size, its weights, and inputs. For
/// measuring what it costs; [`check`](super::check) compares what it gives.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use percept::check::Network;
/// use percept::pipeline::Device;
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
    config: Config,
    weights: Box<dyn WeightSource>,
    inputs: Vec<Input>,
}

enum Config {
    ResNet(ResNetConfig),
    Vit(VitConfig),
    Head(HeadConfig),
    /// Or an upsampler's, which has a small size.
    Unet(Box<UnetConfig>),
    Classifier(Box<ClassifierConfig>),
}

impl Network {
    /// Opens a golden of kind `resnet`, `vit`, `head`, `unet`, `superres`, `classifier` or `sampler` (whose network is the
    /// UNet or the upsampler, at its first timestep), with the golden's inputs; or a model file of any of these kinds but the last, with
    /// made-up inputs for one sample.
    ///
    /// `size` is the height and width of the images for an encoder's model file; without it they have the size that
    /// the file's preprocessing names, else 224.
    ///
    /// # Errors
    /// [`Error::File`] where it is neither, [`Error::Config`] where `size` is given for anything else; where inputs
    /// or weights are missing, or the configuration makes no model.
    pub fn open(path: &Path, size: Option<usize>) -> Result<Self> {
        let file = open_model(path)?;
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

    /// A golden's network, with the golden's inputs.
    pub(super) fn of_golden(golden: &Golden, kind: &str) -> Result<Self> {
        let (config, inputs) = match kind {
            "resnet" => {
                let config = ResNetConfig::from_json(golden.config()?)?;
                (Config::ResNet(config), vec![Input::image("image", golden, "in.image")?])
            }
            "vit" => {
                let config = VitConfig::from_json(golden.config()?)?;
                (Config::Vit(config), vec![Input::image("image", golden, "in.image")?])
            }
            "head" => {
                let config = HeadConfig::from_json(golden.config()?)?;
                (Config::Head(config), vec![Input::rows("trunk", golden, "in.trunk")?])
            }
            "unet" | "superres" | "sampler" => {
                let config = UnetConfig::of_kind(kind, golden.config()?)?;
                let x = Input::image("x", golden, if kind == "sampler" { "in.xT" } else { "in.x" })?;
                let timesteps = match kind {
                    "sampler" => vec![noisiest(&config)],
                    _ => golden.tensor("in.t")?.into_data(),
                };
                let mut inputs = vec![x, Input::time(&config, &timesteps)];
                if config.small_size > 0 {
                    inputs.push(Input::image("low_res", golden, "in.low_res")?);
                }
                if config.ssl_dim > 0 {
                    inputs.push(Input::rows("feat", golden, "in.feat")?);
                }
                if config.classes() > 0 {
                    inputs.push(Input::labels(golden.integers("in.y")?));
                }
                (Config::Unet(Box::new(config)), inputs)
            }
            "classifier" => {
                let config = ClassifierConfig::from_json(golden.config()?)?;
                let x = Input::image("x", golden, "in.x")?;
                let time = Input::time(&config.unet(), &golden.tensor("in.t")?.into_data());
                (Config::Classifier(Box::new(config)), vec![x, time])
            }
            other => {
                let expected = "a golden of a network: kind resnet, vit, head, unet, superres, classifier or sampler";
                return Err(Error::file(golden.name(), expected, format!("kind {other:?}")));
            }
        };
        let samples = inputs[0].shape[0];
        // A sampling run has one timestep for all.
        let odd = inputs.iter().find(|input| input.shape[0] != samples && (kind, input.name) != ("sampler", "time"));
        if let Some(odd) = odd {
            let at = format!("{}: {}", golden.name(), odd.name);
            return Err(Error::shape(at, format!("{samples} samples, as {} has", inputs[0].name), odd.shape));
        }
        Ok(Network { config, weights: golden.weights()?, inputs })
    }

    /// A model file's network, with made-up inputs for one sample.
    fn of_model(file: MappedModel, size: Option<usize>) -> Result<Self> {
        let (kind, config) = kind_and_config(&file)?;
        if let (Some(size), false) = (size, ["resnet", "vit"].contains(&kind)) {
            let expected = format!("none but for an encoder, a resnet or vit: {} is a {kind}", file.name());
            return Err(Error::config("size", expected, size));
        }
        let size = match size {
            Some(size) => size,
            None => Preprocessing::named_by(&file)?.unwrap_or_default().size() as usize,
        };
        let (kind, config) = (kind.to_string(), config.to_string());
        Network::of_weights(&kind, &config, Box::new(file), size)
    }

    /// The network of a kind and a configuration, as model files have them, for weights of whatever source, with made-up
    /// inputs for one sample. `size` is the height and width of an encoder's images.
    ///
    /// # Errors
    /// [`Error::File`] where percept runs no model of that kind, [`Error::Config`] where the configuration makes none.
    pub fn of_weights(kind: &str, config: &str, weights: Box<dyn WeightSource>, size: usize) -> Result<Self> {
        let within = |error: Error| error.within(weights.name());
        let image = || Input::made_up("image", &[1, size, size, 3]);
        let (config, inputs) = match kind {
            "resnet" => {
                let config = ResNetConfig::from_json(config).map_err(within)?;
                (Config::ResNet(config), vec![image()?])
            }
            "vit" => {
                let config = VitConfig::from_json(config).map_err(within)?;
                (Config::Vit(config), vec![image()?])
            }
            "head" => {
                let config = HeadConfig::from_json(config).map_err(within)?;
                let inputs = vec![Input::made_up("trunk", &[1, config.in_dim()])?];
                (Config::Head(config), inputs)
            }
            "unet" | "superres" => {
                let config = UnetConfig::of_kind(kind, config).map_err(within)?;
                let (size, small) = (config.image_size, config.small_size);
                let x = Input::made_up("x", &[1, size, size, 3])?;
                let mut inputs = vec![x, Input::time(&config, &[noisiest(&config)])];
                if small > 0 {
                    inputs.push(Input::made_up("low_res", &[1, small, small, 3])?);
                }
                if config.ssl_dim > 0 {
                    inputs.push(Input::made_up("feat", &[1, config.ssl_dim])?);
                }
                if config.classes() > 0 {
                    inputs.push(Input::labels(vec![0]));
                }
                (Config::Unet(Box::new(config)), inputs)
            }
            "classifier" => {
                let config = ClassifierConfig::from_json(config).map_err(within)?;
                let (size, unet) = (config.image_size, config.unet());
                let inputs = vec![Input::made_up("x", &[1, size, size, 3])?, Input::time(&unet, &[noisiest(&unet)])];
                (Config::Classifier(Box::new(config)), inputs)
            }
            other => {
                let expected =
                    "a model of kind \"resnet\", \"vit\", \"head\", \"unet\", \"superres\" or \"classifier\"";
                return Err(Error::file(weights.name(), expected, format!("{other:?}")));
            }
        };
        Ok(Network { config, weights, inputs })
    }

    /// What kind of network it is: `resnet`, `vit`, `head`, `unet`, `superres` or `classifier`.
    pub fn kind(&self) -> &'static str {
        match &self.config {
            Config::ResNet(_) => "resnet",
            Config::Vit(_) => "vit",
            Config::Head(_) => "head",
            Config::Unet(config) if config.small_size > 0 => "superres",
            Config::Unet(_) => "unet",
            Config::Classifier(_) => "classifier",
        }
    }

    /// Samples of a golden; 1 of a model file.
    pub fn batch(&self) -> usize {
        self.inputs.first().map_or(1, |input| input.shape[0])
    }

    /// What [`Network::program`] is to be loaded with.
    pub fn weights(&self) -> &dyn WeightSource {
        self.weights.as_ref()
    }

    /// The program of one forward pass for so many samples, with the network's own outputs: `out.trunk` and, with
    /// an `fc`, `out.logits`; of a vision transformer `out.tokens_mean` and `out.patch_mean` as well; `out.head`;
    /// `out.eps_and_var`.
    ///
    /// # Errors
    /// Where the weights are not those of the configuration, or a value would have more elements than a
    /// kernel can index.
    pub fn program(&self, batch: usize) -> Result<Program> {
        let program = self.program_with_taps(batch)?;
        let names: Vec<&str> = program.outputs().iter().map(|(name, _)| name.as_str()).collect();
        program.up_to(&names.into_iter().filter(|name| name.starts_with("out.")).collect::<Vec<_>>())
    }

    /// The names of the weights that it reads.
    ///
    /// # Errors
    /// As [`Network::program`].
    pub fn tensors(&self) -> Result<Vec<String>> {
        Ok(self.build(1)?.1)
    }

    /// The same with what goldens compare beside it, as outputs `tap.*`.
    pub(super) fn program_with_taps(&self, batch: usize) -> Result<Program> {
        Ok(self.build(batch)?.0)
    }

    /// The program and the names of its weights.
    fn build(&self, batch: usize) -> Result<(Program, Vec<String>)> {
        let mut g = Graph::new();
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let shape = input.shape_of(batch)?;
            inputs.push(match input.data {
                Data::Floats(_) | Data::MadeUp => g.input(input.name, shape),
                Data::Words(_) => g.input_u32(input.name, shape),
            });
        }
        let input = |name: &str| self.inputs.iter().position(|input| input.name == name).map(|place| inputs[place]);
        // The first is what the network is a function of.
        let x = inputs[0];
        let checkpoint = Checkpoint::new(self.weights());
        let scope = checkpoint.root();
        match &self.config {
            Config::ResNet(config) => {
                let values = models::resnet(&mut g, config, &scope, x)?;
                for (stage, value) in values.stages {
                    let mean = models::spatial_mean(&mut g, &stage, value)?;
                    g.output(&format!("tap.{stage}"), mean);
                }
                g.output("out.trunk", values.trunk);
                values.logits.into_iter().for_each(|logits| g.output("out.logits", logits));
            }
            Config::Vit(config) => {
                let values = models::vit(&mut g, config, &scope, x)?;
                for (block, value) in values.blocks {
                    g.output(&format!("tap.{block}"), value);
                }
                g.output("out.trunk", values.trunk);
                g.output("out.tokens_mean", values.tokens_mean);
                g.output("out.patch_mean", values.patch_mean);
            }
            Config::Head(config) => {
                let layers = models::head(&mut g, config, &scope, x)?;
                for (layer, value) in layers.iter().enumerate() {
                    g.output(&format!("tap.head.{layer}"), *value);
                }
                g.output("out.head", layers[layers.len() - 1]);
            }
            Config::Unet(config) => {
                let mut condition = models::condition(&mut g, config, &scope, input("feat"), input("labels"))?;
                if let Some(low_res) = input("low_res") {
                    condition = condition.with_low_res(&mut g, config, low_res)?;
                }
                let time: ValueId = input("time").unwrap_or(x);
                let output = models::unet(&mut g, config, &scope, x, time, &condition)?;
                g.output("out.eps_and_var", output);
            }
            Config::Classifier(config) => {
                let time: ValueId = input("time").unwrap_or(x);
                let logits = models::classifier(&mut g, config, &scope, x, time)?;
                g.output("out.logits", logits);
            }
        }
        drop(scope);
        let tensors = checkpoint.finish(&format!("a {} of its configuration", self.kind()))?;
        Ok((g.finish()?, tensors))
    }

    /// Writes the inputs of a program of this network, for whatever batch size.
    ///
    /// # Errors
    /// As [`Executor::write`].
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

/// The timestep at which sampling begins.
fn noisiest(config: &UnetConfig) -> f32 {
    (config.diffusion_steps - 1) as f32
}

fn repeated<T: Copy>(data: &[T], elements: usize) -> Vec<T> {
    data.iter().copied().cycle().take(elements).collect()
}
