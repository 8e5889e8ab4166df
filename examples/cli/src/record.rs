//! The record of how a file of samples was made, as text chunks and as JSON.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use percept::Bundle;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The name of this program in the files that it writes.
pub const SOFTWARE: &str = concat!("percept ", env!("CARGO_PKG_VERSION"));

/// Everything that the samples of a file depend on.
pub struct Record {
    pub seed: u64,
    pub sampler: String,
    pub eta: f64,
    pub samples: usize,
    pub class: Option<u32>,
    /// The start of the samples, if it is not drawn from the seed.
    pub start: Option<String>,
    pub device: String,
    /// The type that weights and activations were stored in.
    pub precision: &'static str,
    /// The file names of the pictures, without folders.
    pub pictures: Vec<String>,
    pub groups: Vec<Group>,
    /// The upsampler that enlarged the samples or the pictures.
    pub upsampler: Option<Upsampler>,
}

/// The samples of one bundle.
pub struct Group {
    pub name: String,
    pub layer: String,
    /// The preprocessing of its pictures.
    pub preprocessing: String,
    /// The steps, as a `timestep_respacing` of guided-diffusion.
    pub steps: String,
    pub files: Vec<File>,
}

/// The upsampler of a run.
pub struct Upsampler {
    /// The steps, as a `timestep_respacing` of guided-diffusion.
    pub steps: String,
    /// The crop that made the small images, if they were cropped.
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
    /// Describes the file of a model. Reads the whole file for its hash.
    pub fn new(role: &'static str, model: &OpenModel) -> File {
        File { role, name: file_name(model.name().as_ref()), sha256: model.sha256() }
    }

    /// Describes the model files of a bundle.
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

/// Returns the SHA-256 of a file, in hexadecimal.
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

/// Returns a file's name without its folder, which says nothing about the file's content.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns a picture's label: its file name without the extension.
pub fn label(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Record {
    /// Returns the keywords and texts of a PNG file's text chunks.
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

    /// Returns the values that the samples' bytes depend on, by name. Models are identified by file name and content,
    /// not by folder.
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

    /// Returns the record as JSON, with the file that was written and the seconds that it took.
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
