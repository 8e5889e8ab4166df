//! Programs of real models, with the weights that goldens list or those of the demo's encoder.

use std::path::Path;
use std::sync::Arc;

use percept::Method;
use percept::diffusion::{NoiseFrom, SamplingLoop};
use percept::models::{self, ClassifierConfig, ResNetConfig, UnetConfig, VitConfig};
use percept::program::{Graph, Program};
use percept::weights::OpenModel;
use percept::weights::{Checkpoint, Synthetic, WeightSource};
use percept_tests::add_unet;

/// A model: its weights and its configuration's JSON.
pub struct Model {
    pub weights: Box<dyn WeightSource>,
    config: String,
}

fn open(path: &str) -> OpenModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    OpenModel::open(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// Loads the model of a golden.
pub fn golden(name: &str) -> Model {
    let file = open(&format!("goldens/{name}.safetensors"));
    let metadata = |key| file.metadata(key).unwrap_or_else(|| panic!("{name} has no {key}"));
    let weights = Synthetic::from_json(metadata("weights")).expect("a list of shapes");
    Model { weights: Box::new(weights), config: metadata("config").to_string() }
}

/// Loads the demo's encoder: basic blocks 1, 1, 1, 1 of width 32, without class scores.
pub fn demo_encoder() -> Model {
    let file = open("../examples/assets/encoder.safetensors");
    let config = file.metadata("percept.config").expect("a model file").to_string();
    Model { weights: Box::new(file), config }
}

impl Model {
    /// Builds a ResNet with all of its layers as outputs: `stem`, `layer1`, ..., `trunk`, and `logits` if it
    /// has them.
    pub fn resnet(&self, image: [usize; 4]) -> Arc<Program> {
        let config = ResNetConfig::from_json(&self.config).expect("a resnet's configuration");
        let mut g = Graph::new();
        let x = g.input("image", image);
        let checkpoint = Checkpoint::new(self.weights.as_ref());
        let values = models::resnet(&mut g, &config, &checkpoint.root(), x).expect("a resnet");
        checkpoint.finish("a resnet").expect("its weights");
        values.stages.iter().for_each(|(name, value)| g.output(name, *value));
        g.output("trunk", values.trunk);
        values.logits.iter().for_each(|logits| g.output("logits", *logits));
        Arc::new(g.finish().expect("a program"))
    }

    /// Builds a vision transformer with all its layers as outputs: `block0`, ..., `trunk`, and both means.
    pub fn vit(&self, image: [usize; 4]) -> Arc<Program> {
        let config = VitConfig::from_json(&self.config).expect("a vit's configuration");
        let mut g = Graph::new();
        let x = g.input("image", image);
        let checkpoint = Checkpoint::new(self.weights.as_ref());
        let values = models::vit(&mut g, &config, &checkpoint.root(), x).expect("a vit");
        checkpoint.finish("a vit").expect("its weights");
        values.blocks.iter().for_each(|(name, value)| g.output(name, *value));
        g.output("trunk", values.trunk);
        g.output("tokens_mean", values.tokens_mean);
        g.output("patch_mean", values.patch_mean);
        Arc::new(g.finish().expect("a program"))
    }

    pub fn unet_config(&self) -> UnetConfig {
        UnetConfig::from_json(&self.config).expect("a unet's configuration")
    }

    /// Builds one forward pass of a UNet.
    pub fn unet(&self, batch: usize) -> Arc<Program> {
        let config = self.unet_config();
        let mut g = Graph::new();
        let checkpoint = Checkpoint::new(self.weights.as_ref());
        let output = add_unet(&mut g, &config, &checkpoint.root(), batch).expect("a unet");
        checkpoint.finish("a unet").expect("its weights");
        g.output("output", output);
        Arc::new(g.finish().expect("a program"))
    }

    /// Builds one forward pass of a classifier of noisy images.
    pub fn classifier(&self, batch: usize) -> Arc<Program> {
        let config = ClassifierConfig::from_json(&self.config).expect("a classifier's configuration");
        let mut g = Graph::new();
        let x = g.input("x", [batch, config.image_size, config.image_size, 3]);
        let time = g.input("time", [batch, config.num_channels]);
        let checkpoint = Checkpoint::new(self.weights.as_ref());
        let output = models::classifier(&mut g, &config, &checkpoint.root(), x, time).expect("a classifier");
        checkpoint.finish("a classifier").expect("its weights");
        g.output("output", output);
        Arc::new(g.finish().expect("a program"))
    }

    /// Builds a whole sampling run of a UNet, with drawn noise.
    pub fn sampling(&self, method: &Method, batch: usize) -> SamplingLoop {
        let config = self.unet_config();
        SamplingLoop::new(self.weights.as_ref(), &config, method, batch, NoiseFrom::Seed).expect("a sampling program")
    }
}

/// Returns programs of every kind of model, each with its weights.
pub fn every_program() -> Vec<(&'static str, Model, Arc<Program>)> {
    fn with(
        name: &'static str,
        model: Model,
        program: impl Fn(&Model) -> Arc<Program>,
    ) -> (&'static str, Model, Arc<Program>) {
        let program = program(&model);
        (name, model, program)
    }
    fn trunk(model: &Model, image: [usize; 4]) -> Arc<Program> {
        Arc::new(model.resnet(image).up_to(&["trunk"]).expect("an output"))
    }
    vec![
        with("resnet with taps", demo_encoder(), |model| model.resnet([1, 64, 64, 3])),
        with("resnet", demo_encoder(), |model| trunk(model, [1, 64, 64, 3])),
        with("resnet18", golden("resnet18_64"), |model| trunk(model, [2, 50, 70, 3])),
        with("resnet50", golden("resnet50_224"), |model| trunk(model, [1, 224, 224, 3])),
        with("vit with taps", golden("dinov2_reg4_p14_70x84"), |model| model.vit([1, 70, 84, 3])),
        with("vit", golden("vit_tiny_p16_96"), |model| {
            Arc::new(model.vit([2, 96, 96, 3]).up_to(&["trunk"]).expect("an output"))
        }),
        with("unet", golden("unet_rcdm_32"), |model| model.unet(1)),
        with("unet, no FiLM, classes", golden("unet_adm_classcond_32"), |model| model.unet(2)),
        with("unet, conditional norms", golden("unet_rcdm_32_cbn"), |model| model.unet(1)),
        with("upsampler", golden("superres_16_32"), |model| model.unet(2)),
        with("classifier", golden("classifier_attnpool_32"), |model| model.classifier(2)),
        with("ddpm", golden("sampler_ddpm_10"), |model| model.sampling(&Method::ddpm(10), 2).program()),
        with("ddim", golden("sampler_predict_xstart_8"), |model| model.sampling(&Method::ddim(5), 1).program()),
        with("ddim, conditional norms", golden("unet_rcdm_32_cbn_sn"), |model| {
            model.sampling(&Method::ddim(25), 1).program()
        }),
    ]
}
