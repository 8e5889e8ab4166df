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
    /// File names, without folders.
    pub pictures: Vec<String>,
    pub groups: Vec<Group>,
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

/// A model file.
pub struct File {
    role: &'static str,
    name: String,
    sha256: String,
}

impl File {
    /// The files that a bundle was made of.
    pub fn of(bundle: &Bundle) -> Vec<File> {
        let file = |role, model: &MappedModel| {
            let name = file_name(model.name().as_ref());
            File { role, name, sha256: sha256(model) }
        };
        let encoder = ["encoder", "head"].into_iter().zip(bundle.encoder.models());
        let models = encoder.chain([("decoder", bundle.rcdm.model())]);
        models.map(|(role, model)| file(role, model)).collect()
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

impl Record {
    /// Keywords and texts of a PNG file's chunks.
    pub fn text(&self) -> Vec<(String, String)> {
        let mut steps: Vec<&str> = self.groups.iter().map(|group| group.steps.as_str()).collect();
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
        text.push(("pictures".into(), self.pictures.join("\n")));
        for (number, group) in (1..).zip(&self.groups) {
            let mut lines = vec![
                format!("name {}", group.name),
                format!("layer {}", group.layer),
                format!("preprocessing {}", group.preprocessing),
                format!("steps {}", group.steps),
            ];
            lines.extend(group.files.iter().map(|file| format!("{} {} sha256 {}", file.role, file.name, file.sha256)));
            text.push((format!("bundle {number}"), lines.join("\n")));
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
        of
    }

    /// The same as JSON, with the file that was written and how long it took.
    pub fn json(&self, file: &Path, seconds: f64) -> Value {
        let file_of = |file: &File| json!({"role": file.role, "file": file.name, "sha256": file.sha256});
        let group = |group: &Group| {
            let files: Vec<Value> = group.files.iter().map(file_of).collect();
            json!({"name": group.name, "layer": group.layer, "preprocessing": group.preprocessing, "steps": group.steps, "files": files})
        };
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
            "pictures": self.pictures,
            "bundles": self.groups.iter().map(group).collect::<Vec<Value>>(),
        })
    }
}
