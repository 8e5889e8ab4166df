//! `percept encode`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use percept::weights::WeightSource;
use percept::{Device, Encoder, Representations};
use percept::{Error, Result};
use serde_json::json;

use crate::DeviceArguments;
use crate::encoder::EncoderArguments;
use crate::pictures;
use crate::record::{SOFTWARE, file_name};
use crate::terminal::{self, print, progress};

#[derive(Args)]
pub struct Arguments {
    /// PNG or JPEG pictures, folders of them (sorted by name), or patterns such as 'photos/*.jpg'
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    encoder: EncoderArguments,
    /// Bundle to take the encoder from, NAME.bundle.json, instead of --encoder
    #[arg(long, value_name = "FILE", required_unless_present = "encoder")]
    bundle: Option<PathBuf>,
    /// Output file of float32 [N, D]: FILE.npy, or with names and metadata FILE.npz, FILE.safetensors or FILE.jsonl
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Encodes pictures and writes their representations. Everything that can be checked in advance is checked before the
/// first picture.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let started = Instant::now();
    Representations::check_name(&arguments.output)?;
    let paths = pictures::named(&arguments.images)?;
    let device = on.open(None)?;
    let mut encoder = match arguments.encoder.open(&device)? {
        Some(encoder) => encoder,
        None => arguments.encoder.open_bundle(arguments.bundle.as_deref().unwrap_or(Path::new("")), &device)?.encoder,
    };

    let names = paths.iter().map(|picture| picture.display().to_string()).collect();
    let representations = Representations { dim: encoder.dim(), names, metadata: metadata(&encoder, &device)? };
    let bar = progress(paths.len() as u64, "encoding");
    let rows = paths.chunks(encoder.batch()).flat_map(|paths| {
        let rows = pictures::open(paths).and_then(|opened| pictures::encode(&mut encoder, paths, &opened));
        bar.inc(paths.len() as u64);
        // A failed batch yields only its error.
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    });
    representations.write(&arguments.output, rows)?;
    bar.finish_and_clear();

    let (count, dim, seconds) = (paths.len(), encoder.dim(), started.elapsed().as_secs_f64());
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

/// Returns metadata that describes how the representations were made.
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
        metadata.push((format!("{role}.sha256"), model.sha256()));
    }
    Ok(metadata)
}
