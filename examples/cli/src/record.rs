//! How a file of samples was made: for its text chunks, and as JSON.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use percept::pipeline::{Bundle, MappedModel, sha256};
use percept::weights::WeightSource;
use percept::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the program calls itself in files.
pub const SOFTWARE: &str = concat!("percept ", env!("CARGO_PKG_VERSION"));

/// Everything that a file's samples depend on.
pub struct Record {
    pub seed: u64,
    pub sampler: String,
    pub eta: f64,
    pub samples: usize,
    pub class: Option<u32>,
    /// What the samples begin as, where it is not drawn.
    pub start: Option<String>,
    pub device: String,
    /// What weights and activations were stored in.
    pub precision: &'static str,
    /// File names, without folders.
    pub pictures: Vec<String>,
    pub groups: Vec<Group>,
    /// What made the samples, or the pictures, larger.
    pub upsampler: Option<Upsampler>,
}

/// One bundle's samples.
pub struct Group {
    pub name: String,
    pub layer: String,
    /// Of its pictures.
    pub preprocessing: String,
    /// As guided-diffusion's `timestep_respacing`.
    pub steps: String,
    pub files: Vec<File>,
}

/// An upsampler's part.
pub struct Upsampler {
    /// As guided-diffusion's `timestep_respacing`.
    pub steps: String,
    /// The crop that small images are, if they were not taken as they are.
    pub crop: Option<&'static str>,
    pub file: File,
}

/// A model file.
pub struct File {
    role: &'static str,
    name: String,
    sha256: String,
}

impl File {
    /// A model's file; reads it.
    pub fn new(role: &'static str, model: &MappedModel) -> File {
        File { role, name: file_name(model.name().as_ref()), sha256: sha256(model) }
    }

    /// The files that a bundle was made of.
    pub fn of(bundle: &Bundle) -> Vec<File> {
        let encoder = ["encoder", "head"].into_iter().zip(bundle.encoder.models());
        let models = encoder.chain([("decoder", bundle.rcdm.model())]);
        models.map(|(role, model)| File::new(role, model)).collect()
    }

    fn line(&self) -> String {
        format!("{} {} sha256 {}", self.role, self.name, self.sha256)
    }

    fn json(&self) -> Value {
        json!({"role": self.role, "file": self.name, "sha256": self.sha256})
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let unreadable = |error: std::io::Error| Error::file(path.display(), "a readable file", error);
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes).map_err(unreadable)? {
            0 => break,
            length => hasher.update(&bytes[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file's name without its folder: where a file lay says nothing about what is in it.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A picture's label: the name of its file without what tells its format.
pub fn label(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Record {
    /// Keywords and texts of a PNG file's chunks.
    pub fn text(&self) -> Vec<(String, String)> {
        let mut steps: Vec<&str> = self.groups.iter().map(|group| group.steps.as_str()).collect();
        if let (true, Some(upsampler)) = (steps.is_empty(), &self.upsampler) {
            steps.push(&upsampler.steps);
        }
        steps.dedup();
        let mut text = vec![
            ("Software".into(), SOFTWARE.into()),
            ("seed".into(), self.seed.to_string()),
            ("sampler".into(), self.sampler.clone()),
            ("steps".into(), steps.join(" and ")),
            ("eta".into(), self.eta.to_string()),
            ("samples".into(), self.samples.to_string()),
        ];
        text.extend(self.class.map(|class| ("class".into(), class.to_string())));
        text.extend(self.start.clone().map(|start| ("start".into(), start)));
        text.push(("device".into(), self.device.clone()));
        text.push(("precision".into(), self.precision.into()));
        text.push(("pictures".into(), self.pictures.join("\n")));
        for (number, group) in (1..).zip(&self.groups) {
            let mut lines = vec![
                format!("name {}", group.name),
                format!("layer {}", group.layer),
                format!("preprocessing {}", group.preprocessing),
                format!("steps {}", group.steps),
            ];
            lines.extend(group.files.iter().map(File::line));
            text.push((format!("bundle {number}"), lines.join("\n")));
        }
        if let Some(upsampler) = &self.upsampler {
            let mut lines = vec![format!("steps {}", upsampler.steps)];
            lines.extend(upsampler.crop.map(|crop| format!("crop {crop}")));
            lines.push(upsampler.file.line());
            text.push(("upsampler".into(), lines.join("\n")));
        }
        text
    }

    /// What its samples' bytes depend on, by names: models by their contents, wherever they lie.
    pub fn depends_on(&self) -> BTreeMap<String, String> {
        let mut of: BTreeMap<String, String> = [
            ("software", SOFTWARE.to_string()),
            ("seed", self.seed.to_string()),
            ("sampler", self.sampler.clone()),
            ("eta", self.eta.to_string()),
            ("samples", self.samples.to_string()),
            ("class", self.class.map_or("none".to_string(), |class| class.to_string())),
            ("device", self.device.clone()),
            ("precision", self.precision.to_string()),
            ("pictures", self.pictures.len().to_string()),
            ("bundles", self.groups.len().to_string()),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into();
        for (number, group) in (1..).zip(&self.groups) {
            let of_group = [("layer", &group.layer), ("preprocessing", &group.preprocessing), ("steps", &group.steps)];
            of.extend(of_group.map(|(name, value)| (format!("bundle {number} {name}"), value.clone())));
            let files = group.files.iter().map(|file| {
                (format!("bundle {number} {}", file.role), format!("{}, SHA-256 {}", file.name, file.sha256))
            });
            of.extend(files);
        }
        if let Some(Upsampler { steps, file, .. }) = &self.upsampler {
            of.insert("upsampler".into(), format!("{}, SHA-256 {}", file.name, file.sha256));
            of.insert("upsampler steps".into(), steps.clone());
        }
        of
    }

    /// The same as JSON, with the file that was written and how long it took.
    pub fn json(&self, file: &Path, seconds: f64) -> Value {
        let group = |group: &Group| {
            let files: Vec<Value> = group.files.iter().map(File::json).collect();
            let Group { name, layer, preprocessing, steps, .. } = group;
            json!({"name": name, "layer": layer, "preprocessing": preprocessing, "steps": steps, "files": files})
        };
        let upsampler = |upsampler: &Upsampler| json!({"steps": upsampler.steps, "crop": upsampler.crop, "files": [upsampler.file.json()]});
        json!({
            "file": file.display().to_string(),
            "seconds": seconds,
            "software": SOFTWARE,
            "seed": self.seed,
            "sampler": self.sampler,
            "eta": self.eta,
            "samples": self.samples,
            "class": self.class,
            "start": self.start,
            "device": self.device,
            "precision": self.precision,
            "pictures": self.pictures,
            "bundles": self.groups.iter().map(group).collect::<Vec<Value>>(),
            "upsampler": self.upsampler.as_ref().map(upsampler),
        })
    }
}
