//! Tables of the layouts of known checkpoints: the location of each model's tensors, and their names there.
//!
//! A tensor's name in a checkpoint is `nest` + `prefix` + its own name. The first rename whose left side begins
//! the own name is applied to it. The result is the name in percept's model files.

/// The prefixes of the dictionaries that hold a model, in order of preference. A teacher comes before its student,
/// because the teacher's representations are the ones in use.
pub const NESTS: [&str; 15] = [
    "",
    // DINO, DINOv2
    "teacher.module.",
    "teacher.",
    // Averaged weights, which lie beside the others
    "state_dict_ema.",
    "model_ema.",
    "ema.",
    // VISSL
    "classy_state_dict.base_model.model.",
    // VICReg, Barlow Twins, MAE
    "model.module.",
    "model.",
    // PyTorch Lightning, MoCo, timm's training script
    "state_dict.module.",
    "state_dict.model.",
    "state_dict.",
    // SwAV; anything under DistributedDataParallel or torch.compile
    "module.",
    "_orig_mod.",
    "student.module.",
];

/// A part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// The encoder without a head.
    Trunk,
    /// The projector head of the encoder.
    Head,
    /// The diffusion model.
    Decoder,
}

/// The kind of a model: `percept.kind`, and for heads the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ResNet under torchvision's names.
    ResNet,
    /// A vision transformer under the names of DINO and timm.
    Vit,
    /// A projector head, with its method if the names determine it.
    Head(Option<&'static str>),
    /// guided-diffusion's UNet, with a representation (RCDM) or without one (ADM).
    Unet,
    /// ADM's upsampler.
    Superres,
    /// ADM's classifier of noisy images.
    Classifier,
}

impl Kind {
    /// Returns the kind's name in `percept.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ResNet => "resnet",
            Kind::Vit => "vit",
            Kind::Head(_) => "head",
            Kind::Unet => "unet",
            Kind::Superres => "superres",
            Kind::Classifier => "classifier",
        }
    }
}

/// The layout of one model in a checkpoint.
pub struct Rule {
    /// The part of a bundle that the model is.
    pub part: Part,
    /// The model's kind.
    pub kind: Kind,
    /// The prefix of its tensors' names.
    pub prefix: &'static str,
    /// Beginnings after the prefix that must occur: at least one name begins with each.
    pub has: &'static [&'static str],
    /// Beginnings after the prefix that must not occur: no name begins with any of them.
    pub lacks: &'static [&'static str],
    /// Beginnings of names, and their replacements.
    pub renames: &'static [(&'static str, &'static str)],
    /// Beginnings after the prefix of tensors that do not belong to the model.
    pub foreign: &'static [&'static str],
}

const RULE: Rule =
    Rule { part: Part::Trunk, kind: Kind::ResNet, prefix: "", has: &[], lacks: &[], renames: &[], foreign: &[] };
const RESNET: Rule = Rule { has: &["layer1.0.conv", "layer2.0.conv"], ..RULE };
const VIT: Rule = Rule { kind: Kind::Vit, has: &["patch_embed.", "blocks.0."], ..RULE };
const HEAD: Rule = Rule { part: Part::Head, kind: Kind::Head(None), ..RULE };
const UNET: Rule = Rule { part: Part::Decoder, kind: Kind::Unet, has: &["time_embed.", "input_blocks."], ..RULE };

/// All rules. For each part, the first rule that fits is used.
pub const RULES: [Rule; 21] = [
    // Encoders.
    Rule { prefix: "backbone.", ..RESNET },
    Rule { prefix: "backbone.", ..VIT },
    Rule { prefix: "trunk._feature_blocks.", ..RESNET },
    Rule { prefix: "encoder.", ..RESNET },
    Rule { prefix: "encoder.", ..VIT },
    // SwAV keeps its head and prototypes beside the trunk's own layers.
    Rule { foreign: &["projection_head.", "prototypes."], ..RESNET },
    VIT,
    // Heads beside an encoder.
    Rule { kind: Kind::Head(Some("dino")), prefix: "head.", has: &["mlp."], ..HEAD },
    // VISSL's SimCLR: linear layers with a ReLU between them, which has no tensors.
    Rule {
        kind: Kind::Head(Some("simclr")),
        prefix: "heads.",
        has: &["0.clf.0.", "1.clf.0."],
        lacks: &["0.clf.1."],
        renames: &[("0.clf.0.", "mlp.0."), ("1.clf.0.", "mlp.2."), ("2.clf.0.", "mlp.4.")],
        ..HEAD
    },
    // VISSL's Barlow Twins: linear layers without biases, and batch norms.
    Rule {
        kind: Kind::Head(Some("barlow")),
        prefix: "heads.",
        has: &["0.clf.0.", "0.clf.1."],
        renames: &[
            ("0.clf.0.", "0.0."),
            ("0.clf.1.", "0.1."),
            ("1.clf.0.", "1.0."),
            ("1.clf.1.", "1.1."),
            ("2.clf.0.", "2.0."),
        ],
        ..HEAD
    },
    // VICReg's last layer has no bias. Barlow Twins has no biases at all.
    Rule { kind: Kind::Head(Some("vicreg")), prefix: "projector.", has: &["0.bias", "1."], lacks: &["6.bias"], ..HEAD },
    Rule {
        kind: Kind::Head(Some("barlow")),
        prefix: "projector.",
        has: &["0.weight", "1.weight"],
        lacks: &["0.bias"],
        renames: &[("0.", "0.0."), ("1.", "0.1."), ("3.", "1.0."), ("4.", "1.1."), ("6.", "2.0.")],
        ..HEAD
    },
    Rule { kind: Kind::Head(Some("swav")), prefix: "projection_head.", has: &["0.weight", "1.weight"], ..HEAD },
    // Heads alone.
    Rule { kind: Kind::Head(Some("dino")), has: &["mlp.0.", "last_layer."], ..HEAD },
    Rule { kind: Kind::Head(Some("dino")), has: &["mlp.0.", "mlp.1.running_mean"], ..HEAD },
    // Two linear layers: the names do not distinguish DINO's GELU from SimCLR's ReLU.
    Rule { has: &["mlp.0.", "mlp.2."], ..HEAD },
    Rule { kind: Kind::Head(Some("barlow")), has: &["0.0.weight", "0.1.running_mean"], ..HEAD },
    Rule {
        kind: Kind::Head(Some("vicreg")),
        has: &["0.bias", "1.running_mean", "6.weight"],
        lacks: &["6.bias"],
        ..HEAD
    },
    // BYOL's and SwAV's heads compute the same function.
    Rule { kind: Kind::Head(Some("byol")), has: &["0.bias", "1.running_mean"], ..HEAD },
    // Diffusion models. An upsampler has the same names, but six input channels.
    Rule { has: &["time_embed.", "input_blocks.", "output_blocks."], ..UNET },
    Rule { kind: Kind::Classifier, lacks: &["output_blocks."], ..UNET },
];
