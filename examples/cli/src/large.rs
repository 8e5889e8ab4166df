//! Runs of any length into an npz file: written as they go, and gone on with after an interruption.
//!
//! Beside `FILE.npz` lie, until it is whole, `FILE.npz.part` and `FILE.npz.state`: a line of JSON, which says what the run is of and
//! how far the file is, and what a job goes on from within its samples, if it had begun.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use percept::pipeline::npz::{Mark, NpzFile};
use percept::pipeline::{Job, Progress, SampleOptions, Status, output};
use percept::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::sample::Group;
use crate::sampling::SamplingArguments;
use crate::start::Beginning;
use crate::terminal::progress;
use crate::upsampler::Upscaling;

/// Samples of a job, where no batch size is given.
const JOB: usize = 16;
/// How long a job runs before what it goes on from is written.
const SAVED_EVERY: Duration = Duration::from_secs(5);

/// What a run is of.
struct Source<'a> {
    groups: &'a [Group],
    upscaling: Option<&'a Upscaling>,
    sampling: &'a SamplingArguments,
    /// Of each representation.
    samples: usize,
}

impl Source<'_> {
    /// Of a job, which samples each of its representations once.
    fn options(&self, group: &Group) -> SampleOptions {
        self.sampling.options(1, &group.plan, group.bundle.rcdm.config())
    }
}

/// A run into an npz file.
pub struct Run {
    output: PathBuf,
    /// What the samples depend on, as pairs of a name and a value.
    of: BTreeMap<String, String>,
    /// How far an interrupted one is, and the state of its job.
    resumed: Option<(Mark, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    of: BTreeMap<String, String>,
    mark: Mark,
}

/// The newest version of states.
const VERSION: u32 = 1;

impl Run {
    /// A new run, or one that goes on.
    ///
    /// # Errors
    /// Where one was interrupted and this is not to go on with it, or is another.
    pub fn open(output: &Path, of: BTreeMap<String, String>, resume: bool) -> Result<Self> {
        let mut run = Run { output: output.into(), of, resumed: None };
        let path = run.state();
        let at = path.display().to_string();
        if !path.exists() {
            return Ok(run);
        }
        if !resume {
            let expected =
                "no run that was interrupted, or --resume to go on with it; else delete the file to begin anew";
            return Err(Error::file(at, expected, "one"));
        }
        let foreign = |got: &dyn std::fmt::Display| Error::file(&at, "the state of an interrupted run", got);
        let bytes = fs::read(&path).map_err(|error| foreign(&error))?;
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| foreign(&"another file"))?;
        let json: Json = serde_json::from_slice(&bytes[..end]).map_err(|error| foreign(&error))?;
        if json.version != VERSION {
            return Err(foreign(&format!("version {}", json.version)));
        }
        let names = json.of.keys().chain(run.of.keys());
        for name in names {
            let [was, is] = [&json.of, &run.of].map(|of| of.get(name).map_or("none", String::as_str));
            if was != is {
                return Err(Error::file(&at, format!("{name}: {was}, as when the run was begun"), is));
            }
        }
        run.resumed = Some((json.mark, bytes[end + 1..].to_vec()));
        Ok(run)
    }

    fn state(&self) -> PathBuf {
        let mut name = self.output.as_os_str().to_owned();
        name.push(".state");
        name.into()
    }

    fn save(&self, mark: Mark, job: &[u8]) -> Result<()> {
        let path = self.state();
        let failed = |error: &dyn std::fmt::Display| Error::file(path.display(), "a file that can be written", error);
        let json = Json { version: VERSION, of: self.of.clone(), mark };
        let json = serde_json::to_string(&json).map_err(|error| failed(&error))?;
        output::replace_file_by(&path, |file| {
            let parts = [json.as_bytes(), b"\n", job];
            parts.iter().try_for_each(|part| file.write_all(part)).map_err(|error| failed(&error))
        })
    }

    /// Samples what is not there yet, so many samples of each representation of each group.
    ///
    /// # Errors
    /// Where sampling or writing fails; then what was saved stays.
    pub fn finish(
        mut self,
        groups: &[Group],
        upscaling: Option<&Upscaling>,
        beginnings: &mut [Beginning],
        sampling: &SamplingArguments,
        samples: usize,
    ) -> Result<()> {
        let count: usize = groups.iter().map(|group| group.representations.len() * samples).sum();
        let small = groups.first().map_or(0, |group| group.bundle.rcdm.config().image_size);
        let side = upscaling.map_or(small, |upscaling| upscaling.sizes()[1]) as u32;
        let resumed = self.resumed.take();
        let file = match &resumed {
            Some((mark, _)) => NpzFile::resume(&self.output, count, [side; 2], *mark)?,
            None => NpzFile::create(&self.output, count, [side; 2])?,
        };
        let source = Source { groups, upscaling, sampling, samples };
        self.write(file, &source, beginnings, resumed.unwrap_or_default()).inspect_err(|_| {
            if !self.state().exists() {
                // Nothing could be gone on from.
                let _ = fs::remove_file(NpzFile::part(&self.output));
            }
        })?;
        match fs::remove_file(self.state()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file(self.state().display(), "a file that can be deleted", error))
            }
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        mut file: NpzFile,
        source: &Source<'_>,
        beginnings: &mut [Beginning],
        (mark, mut job): (Mark, Vec<u8>),
    ) -> Result<()> {
        let Source { groups, upscaling, sampling, samples } = *source;
        let larger = upscaling.map_or(0, |upscaling| upscaling.plan.steps);
        let steps = |group: &Group| (group.representations.len() * samples * (group.plan.steps + larger)) as u64;
        let bar = progress(groups.iter().map(steps).sum(), "sampling");
        // Rows and steps of the groups before.
        let (mut before, mut passed) = (0, 0);
        for (group, beginning) in groups.iter().zip(beginnings) {
            bar.set_message(group.name.clone());
            let (total, options) = (group.representations.len() * samples, source.options(group));
            let mut first = mark.rows.saturating_sub(before).min(total);
            while first < total {
                let mut job = match std::mem::take(&mut job) {
                    state if !state.is_empty() => group.bundle.rcdm.resume(&state)?,
                    _ => {
                        let end = total.min(first + options.batch.unwrap_or(JOB));
                        let rows: Vec<&[f32]> =
                            (first..end).map(|place| &group.representations[place / samples][..]).collect();
                        let options = SampleOptions {
                            start: beginning.of(first..end)?,
                            first_sample: first as u32,
                            ..options.clone()
                        };
                        group.bundle.rcdm.start(&rows, &options)?
                    }
                };
                let begun = passed + (first * (group.plan.steps + larger)) as u64;
                self.take(&mut job, &mut file, &|share| {
                    bar.set_position(begun + (share * group.plan.steps as f64) as u64);
                })?;
                let mut pictures = job.finish()?.concat();
                if let Some(upscaling) = upscaling {
                    let begun = begun + (pictures.len() * group.plan.steps) as u64;
                    let mut on_step = |job: &mut Job| {
                        let Progress { done, total, .. } = job.progress();
                        bar.set_position(begun + (job.samples() * larger * done / total) as u64);
                        ControlFlow::Continue(())
                    };
                    pictures = upscaling.upscale(&pictures, first as u32, sampling, &mut on_step)?;
                }
                for picture in &pictures {
                    file.push(picture)?;
                    first += 1;
                }
                self.save(file.mark()?, &[])?;
            }
            (before, passed) = (before + total, passed + steps(group));
        }
        file.finish()
    }

    /// Takes a job to its end, and writes now and then what it goes on from; tells how many of its samples' worth of steps are done.
    fn take(&self, job: &mut Job, file: &mut NpzFile, on_step: &dyn Fn(f64)) -> Result<()> {
        let mut saved = Instant::now();
        let mark = file.mark()?;
        loop {
            let progress = job.step()?;
            on_step(job.samples() as f64 * progress.done as f64 / progress.total as f64);
            if progress.status != Status::Running {
                return Ok(());
            }
            if saved.elapsed() >= SAVED_EVERY {
                self.save(mark, &job.state()?)?;
                saved = Instant::now();
            }
        }
    }
}
