//! Computes the results of goldens that need no device: schedules and crops.

use std::path::Path;

use serde::Deserialize;

use super::Computed;
use super::golden::Golden;
use crate::diffusion::{NoiseSchedule, Schedule};
use crate::images::{self, Preprocessing};
use crate::{Error, Result};

type Outputs = Vec<(String, Computed)>;

#[derive(Deserialize)]
struct ScheduleJson {
    noise_schedule: String,
    steps: usize,
    #[serde(default)]
    respacing: String,
}

/// Computes the tables of the schedules that a golden lists.
pub(super) fn schedules(golden: &Golden) -> Result<Outputs> {
    let listed: Vec<ScheduleJson> = serde_json::from_str(golden.config()?).map_err(|error| {
        Error::config("config of schedules", "a JSON array of noise_schedule, steps, respacing", error)
    })?;
    let mut outputs = Vec::new();
    for (index, json) in listed.iter().enumerate() {
        let schedule = Schedule::new(json.noise_schedule.parse::<NoiseSchedule>()?, json.steps, &json.respacing)?;
        for (name, table) in schedule.tables() {
            outputs.push((format!("{index}.{name}"), Computed::Doubles(table.to_vec())));
        }
        let map = schedule.timestep_map.iter().map(|&t| t as i64).collect();
        outputs.push((format!("{index}.timestep_map"), Computed::Integers(map)));
    }
    Ok(outputs)
}

#[derive(Deserialize)]
struct PreprocessJson {
    image: String,
    #[serde(default = "rcdm")]
    preset: String,
}

fn rcdm() -> String {
    Preprocessing::PRESETS[0].into()
}

/// Computes a preset's crop of the image next to the golden, and the network input made from it, at every size that
/// the golden names.
pub(super) fn crops(golden: &Golden, path: &Path) -> Result<Outputs> {
    let json: PreprocessJson = serde_json::from_str(golden.config()?)
        .map_err(|error| Error::config("config of a preprocessing", "the name of an image", error))?;
    let image = images::open(golden.folder().join(json.image))?;
    let mut outputs = Vec::new();
    for name in golden.wanted(None) {
        let size = ["out.crop", "out.input"].into_iter().find_map(|start| name.strip_prefix(start)?.parse().ok());
        let size = size.ok_or_else(|| Error::file(path.display(), "tensors out.cropSIZE and out.inputSIZE", &name))?;
        let preprocessing = Preprocessing::new(&json.preset, size)?;
        let crop = preprocessing.crop(&image)?;
        let computed = match name.starts_with("out.crop") {
            true => Computed::Bytes(planes(crop.as_raw())),
            false => Computed::Floats(planes(&preprocessing.to_input(&crop))),
        };
        outputs.push((name, computed));
    }
    Ok(outputs)
}

/// Converts `[h, w, c]` to PyTorch's `[c, h, w]`.
fn planes<T: Copy>(pixels: &[T]) -> Vec<T> {
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
}
