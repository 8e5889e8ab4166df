//! Runs of any length that write an npz file as they sample, and that can be resumed after an interruption.
//!
//! Until `FILE.npz` is complete, its samples are in `FILE.npz.part`. `FILE.npz.state` begins with a line of JSON,
//! which holds what the run depends on and how much of the file is written. The state of the current job follows, if
//! one had begun.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use percept::images;
use percept::images::npz::{Mark, NpzFile};
use percept::{Error, Result};
use percept::{Job, Progress, SampleOptions, Status};
use serde::{Deserialize, Serialize};

use crate::sampling::{Group, SamplingArguments};
use crate::start::Beginning;
use crate::terminal::progress;
use crate::upsampler::Upscaling;

/// The number of samples of a job if no batch size is given.
const JOB: usize = 16;
/// The time that a job runs before its state is saved.
const SAVED_EVERY: Duration = Duration::from_secs(5);

/// The inputs of a run.
struct Source<'a> {
    groups: &'a [Group],
    upscaling: Option<&'a Upscaling>,
    sampling: &'a SamplingArguments,
    /// The number of samples of each representation.
    samples: usize,
}

impl Source<'_> {
    /// Returns the options of a job, which samples each of its representations once.
    fn options(&self, group: &Group) -> SampleOptions {
        self.sampling.options(1, &group.plan, group.bundle.rcdm.config())
    }
}

/// A run that writes an npz file.
pub struct Run {
    output: PathBuf,
    /// The values that the samples depend on, by name.
    of: BTreeMap<String, String>,
    /// How much of the file an interrupted run wrote, and the state of its job.
    resumed: Option<(Mark, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    of: BTreeMap<String, String>,
    mark: Mark,
}

/// The version of state files.
const VERSION: u32 = 1;

impl Run {
    /// Creates a run, or resumes an interrupted one.
    ///
    /// # Errors
    /// Returns [`Error::File`] if there is an interrupted run and `resume` is false, if that run depends on other
    /// values, or if its state cannot be read.
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
        images::replace_file_by(&path, |file| {
            let parts = [json.as_bytes(), b"\n", job];
            parts.iter().try_for_each(|part| file.write_all(part)).map_err(|error| failed(&error))
        })
    }

    /// Draws the missing samples, out of `samples` for each representation of each group.
    ///
    /// # Errors
    /// Returns an error if sampling or writing fails. Everything that was saved stays.
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
                // Without a state, the run cannot be resumed.
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
        // The rows and steps of the groups before this one.
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

    /// Runs a job to its end and saves its state at intervals. Passes the steps done to `on_step`, as a number of
    /// samples: a sample with half of its steps done counts as 0.5.
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
