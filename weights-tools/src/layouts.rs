//! The layouts of the checkpoints that people have, as tables: where a model's tensors stand, and what they are called there.
//!
//! A tensor's name in a checkpoint is `nest` + `prefix` + its own name. Behind the prefix, the first rename whose left side
//! the name begins with is applied; what comes out is the name in percept's model files.

use crate::recognise::Part;

/// What the dictionaries that hold a model are called, the preferred first: of a teacher and a student it is the teacher
/// whose representations are used.
pub const NESTS: [&str; 15] = [
    "",
    // DINO, DINOv2
    "teacher.module.",
    "teacher.",
    // Averages of weights beside the weights
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

/// What kind of model it is: `percept.kind`, and for heads the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ResNet under torchvision's names.
    ResNet,
    /// A vision transformer under the names of DINO and timm.
    Vit,
    /// A projector head, of the method where names tell it.
    Head(Option<&'static str>),
    /// guided-diffusion's UNet, with a representation (RCDM) or without (ADM).
    Unet,
    /// ADM's upsampler.
    Superres,
    /// ADM's classifier of noisy images.
    Classifier,
}

impl Kind {
    /// Its name in `percept.kind`.
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

/// How one model lies in a checkpoint.
pub struct Rule {
    /// Which part of a bundle it is.
    pub part: Part,
    /// What it is.
    pub kind: Kind,
    /// What its names begin with.
    pub prefix: &'static str,
    /// Some name begins with each of these, behind the prefix.
    pub has: &'static [&'static str],
    /// No name begins with any of these, behind the prefix.
    pub lacks: &'static [&'static str],
    /// Beginnings of names, and what is written instead.
    pub renames: &'static [(&'static str, &'static str)],
    /// What lies under the prefix and is no part of it.
    pub foreign: &'static [&'static str],
}

const RULE: Rule =
    Rule { part: Part::Trunk, kind: Kind::ResNet, prefix: "", has: &[], lacks: &[], renames: &[], foreign: &[] };
const RESNET: Rule = Rule { has: &["layer1.0.conv", "layer2.0.conv"], ..RULE };
const VIT: Rule = Rule { kind: Kind::Vit, has: &["patch_embed.", "blocks.0."], ..RULE };
const HEAD: Rule = Rule { part: Part::Head, kind: Kind::Head(None), ..RULE };
const UNET: Rule = Rule { part: Part::Decoder, kind: Kind::Unet, has: &["time_embed.", "input_blocks."], ..RULE };

/// All rules. Of those that fit, the first of each part is taken.
pub const RULES: [Rule; 21] = [
    // Encoders.
    Rule { prefix: "backbone.", ..RESNET },
    Rule { prefix: "backbone.", ..VIT },
    Rule { prefix: "trunk._feature_blocks.", ..RESNET },
    Rule { prefix: "encoder.", ..RESNET },
    Rule { prefix: "encoder.", ..VIT },
    // SwAV keeps head and prototypes beside the trunk's own layers.
    Rule { foreign: &["projection_head.", "prototypes."], ..RESNET },
    VIT,
    // Heads beside an encoder.
    Rule { kind: Kind::Head(Some("dino")), prefix: "head.", has: &["mlp."], ..HEAD },
    // VISSL's SimCLR: linear layers, with a ReLU between that has no tensors.
    Rule {
        kind: Kind::Head(Some("simclr")),
        prefix: "heads.",
        has: &["0.clf.0.", "1.clf.0."],
        lacks: &["0.clf.1."],
        renames: &[("0.clf.0.", "mlp.0."), ("1.clf.0.", "mlp.2."), ("2.clf.0.", "mlp.4.")],
        ..HEAD
    },
    // VISSL's Barlow Twins: linear layers without bias, batch norms.
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
    // VICReg ends without a bias, Barlow Twins has none at all.
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
    // Two linear layers, and nothing that tells DINO's GELU from SimCLR's ReLU.
    Rule { has: &["mlp.0.", "mlp.2."], ..HEAD },
    Rule { kind: Kind::Head(Some("barlow")), has: &["0.0.weight", "0.1.running_mean"], ..HEAD },
    Rule {
        kind: Kind::Head(Some("vicreg")),
        has: &["0.bias", "1.running_mean", "6.weight"],
        lacks: &["6.bias"],
        ..HEAD
    },
    // BYOL's and SwAV's are one function.
    Rule { kind: Kind::Head(Some("byol")), has: &["0.bias", "1.running_mean"], ..HEAD },
    // Diffusion models. An upsampler has the same names, and six channels to read.
    Rule { has: &["time_embed.", "input_blocks.", "output_blocks."], ..UNET },
    Rule { kind: Kind::Classifier, lacks: &["output_blocks."], ..UNET },
];
