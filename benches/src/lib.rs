//! What the benchmarks share: the models that are timed, the clock, the memory gauge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use percept::models::{ResNetConfig, UnetConfig, condition, resnet, unet};
use percept::program::{Graph, Program};
use percept::weights::{Synthetic, tensors_of};
use percept::{Result, Shape};

/// A model to be timed.
pub struct Model {
    /// What to call it.
    pub name: &'static str,
    /// One forward pass.
    pub program: Arc<Program>,
    /// Made-up weights.
    pub weights: Synthetic,
}

/// The flags of the demo's decoders.
const DEMO: &str = r#"{"image_size": 32, "num_channels": 32, "num_res_blocks": 1, "num_heads": 4,
    "attention_resolutions": "8", "channel_mult": "1,2,4", "resblock_updown": true,
    "use_scale_shift_norm": true, "learn_sigma": true, "ssl_dim": 256, "conditioning": "time_embedding"}"#;

/// The models that are timed: RCDM-128, ResNet-50 and the demo's decoder.
///
/// # Errors
/// Never: the configurations are ours.
pub fn models() -> Result<Vec<Model>> {
    Ok(vec![
        unet_model("demo decoder, batch 8", DEMO, 8)?,
        resnet_model("ResNet-50 at 224, batch 1", "resnet50")?,
        unet_model("RCDM-128, batch 1", UnetConfig::RCDM_128, 1)?,
    ])
}

fn unet_model(name: &'static str, flags: &str, batch: usize) -> Result<Model> {
    let config = UnetConfig::from_json(flags)?;
    model(name, |g, scope| {
        let x = g.input("x", [batch, config.image_size, config.image_size, 3]);
        let time = g.input("time", [batch, config.num_channels]);
        let feat = g.input("feat", [batch, config.ssl_dim]);
        let condition = condition(g, &config, scope, Some(feat), None)?;
        let output = unet(g, &config, scope, x, time, &condition)?;
        g.output("output", output);
        Ok(())
    })
}

fn resnet_model(name: &'static str, arch: &str) -> Result<Model> {
    let config = ResNetConfig::named(arch)?;
    model(name, |g, scope| {
        let image = g.input("image", [1, 224, 224, 3]);
        let values = resnet(g, &config, scope, image)?;
        g.output("trunk", values.trunk);
        Ok(())
    })
}

fn model(name: &'static str, build: impl Fn(&mut Graph, &percept::weights::Scope<'_>) -> Result<()>) -> Result<Model> {
    let mut g = Graph::new();
    let shapes: BTreeMap<String, Shape> = tensors_of(|scope| build(&mut g, scope))?;
    Ok(Model { name, program: Arc::new(g.finish()?), weights: Synthetic::new(shapes) })
}

/// Seconds of one call of each of several things, the median of `runs` rounds in which they take turns.
pub fn medians<const N: usize>(runs: usize, mut things: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut seconds: [Vec<f64>; N] = [const { Vec::new() }; N];
    // One round to warm up, which does not count.
    for round in 0..=runs {
        for (thing, seconds) in things.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            thing();
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    })
}

/// Watches how much anonymous memory is resident, from its making to [`Gauge::peak`].
pub struct Gauge {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Gauge {
    /// Begins to watch.
    pub fn start() -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, highest) = (stop.clone(), peak.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(anonymous_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Gauge { stop, peak, thread }
    }

    /// The most bytes seen; none on a system that does not tell.
    pub fn peak(self) -> Option<usize> {
        self.stop.store(true, Ordering::Relaxed);
        // The thread has nothing to fail with.
        let _ = self.thread.join();
        Some(self.peak.load(Ordering::Relaxed)).filter(|&peak| peak > 0)
    }
}

/// Linux's count of this process's resident anonymous memory.
fn anonymous_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

/// The machine, as far as it tells.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {threads} threads", model.trim_start_matches([' ', '\t', ':']))
}
