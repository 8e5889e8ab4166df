//! `percept encode`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use percept::pipeline::{Bundle, Device, Encoder, Representations, image_file, sha256};
use percept::weights::WeightSource;
use percept::{Error, Result};
use serde_json::json;

use crate::On;
use crate::encoder::EncoderArguments;
use crate::record::{SOFTWARE, file_name};
use crate::terminal::{self, print, progress};

#[derive(Args)]
pub struct Arguments {
    /// Pictures, PNG or JPEG; folders, whose pictures are taken in order; or patterns such as 'photos/*.jpg'
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    encoder: EncoderArguments,
    /// A bundle, NAME.bundle.json, in place of an encoder
    #[arg(long, value_name = "FILE", required_unless_present = "encoder")]
    bundle: Option<PathBuf>,
    /// What to write, float32 [N, D]: FILE.npy; FILE.npz, FILE.safetensors or FILE.jsonl, which hold names and metadata, too
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object about what was done
    #[arg(long)]
    json: bool,
}

/// Encodes and writes. All that can be known to fail does so before the first picture.
pub fn run(arguments: &Arguments, on: &On) -> Result<ExitCode> {
    let started = Instant::now();
    Representations::check_name(&arguments.output)?;
    let pictures = pictures(&arguments.images)?;
    let device = on.open(None)?;
    let mut encoder = match arguments.encoder.open(&device)? {
        Some(encoder) => encoder,
        None => Bundle::open(arguments.bundle.as_deref().unwrap_or(Path::new("")), &device)?.encoder,
    };

    let bar = progress(pictures.len() as u64, "encoding");
    let mut values = Vec::with_capacity(pictures.len() * encoder.dim());
    for picture in &pictures {
        let image = image_file::open(picture)?;
        values.extend(encoder.encode(&image).map_err(|error| error.within(picture.display()))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let names = pictures.iter().map(|picture| picture.display().to_string()).collect();
    let metadata = metadata(&encoder, &device)?;
    Representations { dim: encoder.dim(), names, values, metadata }.write(&arguments.output)?;

    let (count, dim, seconds) = (pictures.len(), encoder.dim(), started.elapsed().as_secs_f64());
    let (output, layer) = (arguments.output.display().to_string(), encoder.layer());
    if arguments.json {
        let object = json!({"output": output, "pictures": count, "dim": dim, "layer": layer, "seconds": seconds});
        print(object)?;
    } else {
        let pictures = terminal::count(count, "picture");
        print(format_args!("{output}: {pictures}, {dim} elements of {layer} each, {seconds:.1} s"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What made the representations.
fn metadata(encoder: &Encoder, device: &Device) -> Result<Vec<(String, String)>> {
    let preprocessing = serde_json::to_string(encoder.preprocessing());
    let preprocessing = preprocessing.map_err(|error| Error::config("preprocessing", "JSON", error))?;
    let mut metadata = vec![
        ("software".to_string(), SOFTWARE.to_string()),
        ("layer".to_string(), encoder.layer().to_string()),
        ("preprocessing".to_string(), preprocessing),
        ("device".to_string(), device.name()),
        ("precision".to_string(), device.precision().name().to_string()),
    ];
    for (role, model) in ["encoder", "head"].into_iter().zip(encoder.models()) {
        metadata.push((role.to_string(), file_name(model.name().as_ref())));
        metadata.push((format!("{role}.sha256"), sha256(model)));
    }
    Ok(metadata)
}

/// The pictures that names, folders and patterns stand for, in order, each once for every time it is named.
fn pictures(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for path in named {
        let text = path.to_string_lossy();
        if path.is_dir() {
            pictures.extend(of_folder(path)?);
        } else if !path.exists() && text.contains(['*', '?', '[']) {
            let expected = "a pattern of pictures' names";
            let paths = glob::glob(&text).map_err(|error| Error::file(&text, expected, error))?;
            let mut found: Vec<PathBuf> =
                paths.collect::<std::result::Result<_, _>>().map_err(|error| Error::file(&text, expected, error))?;
            if found.is_empty() {
                return Err(Error::file(&text, expected, "one that fits no file"));
            }
            found.sort();
            pictures.extend(found);
        } else {
            pictures.push(path.clone());
        }
    }
    Ok(pictures)
}

/// The pictures of a folder by name; other files are passed over.
fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::file(folder.display(), "a readable folder", error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>().map_err(unreadable)?;
    let extension = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    files.retain(|path| extension(path).is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.as_str())));
    if files.is_empty() {
        return Err(Error::file(folder.display(), "a folder with a .png, .jpg or .jpeg", "none of these"));
    }
    files.sort();
    Ok(files)
}
