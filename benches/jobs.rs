//! Jobs: how well slices keep a budget, what they cost beside a run that waits, and how soon a job is cancelled.
//!
//! `cargo bench -p percept-benches --bench jobs`, on the device of `PERCEPT_DEVICE`, or the first adapter.

use std::path::Path;
use std::time::{Duration, Instant};

use percept::Result;
use percept::{Device, Job, Method, Rcdm, SampleOptions, Status};
use percept_benches::machine;

/// From one frame of the window to the next.
const FRAME: Duration = Duration::from_micros(16_667);
const BUDGETS: [u64; 3] = [4, 8, 16];
const STEPS: usize = 12;
/// Steps until which the device is got to know.
const STEPS_TO_LEARN: usize = 3;
const CANCELS: usize = 40;

fn main() -> Result<()> {
    let device = Device::named(&std::env::var("PERCEPT_DEVICE").unwrap_or("gpu".into()))?;
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets/decoder_trunk.safetensors");
    let rcdm = Rcdm::open(&decoder, &device)?;
    println!("machine: {}; device: {}: {}", machine(), device.name(), device.description());
    println!("demo decoder, DDPM in {STEPS} steps; slices after step {STEPS_TO_LEARN}, a frame every 16.7 ms");
    println!(
        "batch  budget ms  slices  median ms   p99 ms  longest ms  over 1.5 budgets  call p99 ms  run ms  waiting ms"
    );
    for batch in [1, 4] {
        start(&rcdm, batch)?.finish()?;
        for budget in BUDGETS {
            let began = Instant::now();
            start(&rcdm, batch)?.finish()?;
            let waiting = began.elapsed();
            row(&rcdm, batch, Duration::from_millis(budget), waiting)?;
        }
    }
    cancel(&rcdm)
}

fn start(rcdm: &Rcdm, batch: usize) -> Result<Job> {
    let options =
        SampleOptions { samples: batch, batch: Some(batch), method: Method::ddpm(STEPS), ..SampleOptions::default() };
    rcdm.start(&[&vec![0.1; rcdm.config().ssl_dim]], &options)
}

fn row(rcdm: &Rcdm, batch: usize, budget: Duration, waiting: Duration) -> Result<()> {
    let mut job = start(rcdm, batch)?;
    let (mut slices, mut calls) = (Vec::new(), Vec::new());
    let began = Instant::now();
    loop {
        let call = Instant::now();
        let progress = job.advance(budget)?;
        let took = call.elapsed();
        if progress.done >= STEPS_TO_LEARN {
            slices.extend(progress.slice);
            calls.push(took);
        }
        if progress.status != Status::Running {
            break;
        }
        std::thread::sleep(FRAME.saturating_sub(took));
    }
    let run = began.elapsed();
    let over = slices.iter().filter(|slice| slice.as_secs_f64() > 1.5 * budget.as_secs_f64()).count();
    let [median, p99, longest] = [50, 99, 100].map(|percent| percentile(&mut slices, percent));
    println!(
        "{batch:>5}  {:>9}  {:>6}  {median:>9.2}  {p99:>7.2}  {longest:>10.2}  {over:>16}  {:>11.2}  {:>6.0}  {:>10.0}",
        budget.as_millis(),
        slices.len(),
        percentile(&mut calls, 99),
        run.as_secs_f64() * 1e3,
        waiting.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// In milliseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// From a token's call on one thread to the end of [`Job::finish`] on another.
fn cancel(rcdm: &Rcdm) -> Result<()> {
    let mut latencies = Vec::new();
    for index in 0..CANCELS {
        let job = start(rcdm, 1)?;
        let token = job.token();
        let finishing = std::thread::spawn(move || job.finish().map(|_| Instant::now()));
        // All over a run.
        std::thread::sleep(Duration::from_millis(20 + 37 * index as u64 % 500));
        let cancelled = Instant::now();
        token.cancel();
        let Ok(ended) = finishing.join() else { continue };
        latencies.push(ended?.saturating_duration_since(cancelled));
    }
    let [median, p99] = [50, 99].map(|percent| percentile(&mut latencies, percent));
    println!("cancelled, batch 1, while a thread waits in finish(): median {median:.2} ms, p99 {p99:.2} ms");
    Ok(())
}
