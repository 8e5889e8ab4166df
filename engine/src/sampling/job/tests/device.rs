//! A device whose ops take the times that a test sets, and whose calls fail on request.
//!
//! It does not run kernels. Its results depend on everything that an image depends on: the seed, the sample's number,
//! the condition, the step, and x_t.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::device::{Executor, Timing, TryRun};
use crate::program::{Memory, Program};
use crate::sampling::job::clock;
use crate::tensor::DType;
use crate::weights::WeightRounding;
use crate::{Error, Result};

/// The device, shared by the executor and the test that watches it.
#[derive(Clone)]
pub struct FakeDevice(Arc<Mutex<State>>);

pub struct State {
    program: Arc<Program>,
    /// The time of each op.
    pub times: Vec<Duration>,
    /// True if ops run as they are handed over, as on the CPU.
    is_host: bool,
    /// The maximum number of slices under way.
    pub most: usize,
    /// The time that each call takes in addition to its ops.
    pub overhead: Duration,
    /// The number of calls that succeed. All later calls fail. `None` if all calls succeed.
    pub succeeds: Option<usize>,
    /// The number of calls so far.
    pub calls: usize,
    /// The slices under way, oldest first, and the times at which they end.
    under_way: VecDeque<(Range<usize>, Instant)>,
    /// All slices so far.
    pub slices: Vec<Range<usize>>,
    /// The slices whose end was reported.
    pub reported: Vec<Range<usize>>,
    state: [u32; 4],
    feat: Vec<f32>,
    x: Vec<f32>,
    x_0: Vec<f32>,
    /// The outputs that are being read, and the times at which they are available.
    reading: Vec<(String, Vec<f32>, Instant)>,
}

/// A program on a [`FakeDevice`].
pub struct FakeExecutor {
    program: Arc<Program>,
    rounding: WeightRounding,
    device: FakeDevice,
}

impl FakeDevice {
    /// Creates a device for a program whose ops take the given times. A host runs ops as they are handed over.
    pub fn new(program: Arc<Program>, times: Vec<Duration>, is_host: bool) -> Self {
        assert_eq!(times.len(), program.ops().len());
        let elements = |input: &str| program.value(program.input(input).expect(input)).shape.elements();
        let (feat, x) = (vec![0.0; elements("feat")], vec![0.0; elements("x")]);
        FakeDevice(Arc::new(Mutex::new(State {
            program,
            times,
            is_host,
            most: usize::MAX,
            overhead: Duration::ZERO,
            succeeds: None,
            calls: 0,
            under_way: VecDeque::new(),
            slices: Vec::new(),
            reported: Vec::new(),
            state: [0; 4],
            feat,
            x_0: x.clone(),
            x,
            reading: Vec::new(),
        })))
    }

    /// Locks the device's state. Release it before calling the job.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock was held")
    }

    pub fn executor(&self) -> FakeExecutor {
        let program = self.state().program.clone();
        FakeExecutor { program, rounding: WeightRounding::default(), device: self.clone() }
    }

    /// Returns the total time of some ops.
    pub fn time(&self, ops: Range<usize>) -> Duration {
        self.state().times[ops].iter().sum()
    }

    /// Returns the total time of the ops that were handed over and not yet reported as ended.
    pub fn time_under_way(&self) -> Duration {
        let slices: Vec<_> = self.state().under_way.iter().map(|(ops, _)| ops.clone()).collect();
        slices.into_iter().map(|ops| self.time(ops)).sum()
    }

    pub fn count_under_way(&self) -> usize {
        self.state().under_way.len()
    }

    /// Returns the time at which the last slice under way ends.
    pub fn end(&self) -> Option<Instant> {
        self.state().under_way.back().map(|(_, end)| *end)
    }
}

impl State {
    /// Counts a call. Returns an error once `succeeds` calls have succeeded.
    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        clock::advance(self.overhead);
        match self.succeeds.is_some_and(|calls| self.calls > calls) {
            true => Err(Error::device_lost("a fake device", "a device that answers", format!("call {}", self.calls))),
            false => Ok(()),
        }
    }

    /// Computes the results of the prologue or of a step if the ops up to `end` complete it.
    fn compute(&mut self, end: usize) {
        let [step, sample, seed, _] = self.state;
        let batch = self.feat.len() / self.feat_of_one();
        let (of_x, of_feat) = (self.x.len() / batch, self.feat_of_one());
        for image in 0..batch {
            let number = sample + image as u32;
            let values = &mut self.x[image * of_x..(image + 1) * of_x];
            if end == self.program.prologue().end {
                values.fill(hash(&[seed, number]));
            } else if end == self.program.body().end {
                let condition = self.feat[image * of_feat].to_bits();
                let moved = hash(&[step, seed, number, condition]);
                values.iter_mut().for_each(|x| *x = 0.5 * *x + 0.5 * moved);
                self.x_0[image * of_x..(image + 1) * of_x].fill(moved);
            }
        }
        if end == self.program.body().end {
            self.state[0] += 1;
        }
    }

    fn feat_of_one(&self) -> usize {
        let feat = self.program.input("feat").expect("an input");
        self.program.value(feat).shape[1]
    }

    fn output(&self, output: &str) -> Vec<f32> {
        match output {
            "x" => self.x.clone(),
            "x_0" => self.x_0.clone(),
            "not_finite" => vec![0.0],
            _ => panic!("no output {output}"),
        }
    }

    /// Returns an output that was requested earlier, once it is available. The first call requests it.
    fn try_output(&mut self, output: &str) -> Option<Vec<f32>> {
        if self.is_host {
            return Some(self.output(output));
        }
        match self.reading.iter().position(|(name, ..)| name == output) {
            Some(place) if self.reading[place].2 <= clock::now() => Some(self.reading.remove(place).1),
            Some(_) => None,
            None => {
                let end = self.under_way.back().map_or(clock::now(), |(_, end)| *end);
                self.reading.push((output.into(), self.output(output), end));
                None
            }
        }
    }
}

/// Hashes words to a number in [-1, 1].
fn hash(words: &[u32]) -> f32 {
    let mixed = words
        .iter()
        .fold(17u64, |hash, &word| (hash ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23));
    (mixed % 2001) as f32 / 1000.0 - 1.0
}

impl Executor for FakeExecutor {
    fn program(&self) -> &Program {
        &self.program
    }

    fn memory(&self) -> Memory {
        self.program.memory()
    }

    fn weight_rounding(&self) -> &WeightRounding {
        &self.rounding
    }

    fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        self.program.input_of(input, DType::F32, data.len())?;
        let mut device = self.device.state();
        device.call()?;
        match input {
            "x" => device.x = data.to_vec(),
            "feat" => device.feat = data.to_vec(),
            _ => {}
        }
        Ok(())
    }

    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        self.program.input_of(input, DType::U32, data.len())?;
        let mut device = self.device.state();
        device.call()?;
        if input == "state" {
            device.state.copy_from_slice(data);
        }
        Ok(())
    }

    fn run(&mut self, _: Range<usize>) -> Result<()> {
        panic!("a job never waits for ops it has only just handed over")
    }

    fn try_run(&mut self, ops: Range<usize>) -> Result<TryRun> {
        assert!(!ops.is_empty(), "a slice of nothing");
        // The ops of the tail are never split.
        assert!(ops.end <= self.program.tail() || ops.end == self.program.body().end, "{ops:?} cuts the tail");
        let took = self.device.time(ops.clone());
        let mut device = self.device.state();
        device.call()?;
        if device.under_way.len() >= device.most {
            return Ok(TryRun::Full);
        }
        device.slices.push(ops.clone());
        device.compute(ops.end);
        if device.is_host {
            clock::advance(took);
            return Ok(TryRun::Done);
        }
        let begins = device.under_way.back().map_or(clock::now(), |(_, end)| clock::now().max(*end));
        device.under_way.push_back((ops, begins + took));
        Ok(TryRun::Pending)
    }

    fn ended(&mut self) -> Result<Option<Timing>> {
        let mut device = self.device.state();
        device.call()?;
        let Some((ops, _)) = device.under_way.pop_front_if(|(_, end)| *end <= clock::now()) else { return Ok(None) };
        device.reported.push(ops.clone());
        let took = device.times[ops.clone()].iter().sum();
        Ok(Some(Timing { ops, at_least: took, at_most: took }))
    }

    fn wait(&mut self) -> Result<()> {
        let mut device = self.device.state();
        device.call()?;
        let oldest = device.under_way.front().map(|(_, end)| *end).or(device.reading.first().map(|(.., end)| *end));
        if let Some(end) = oldest {
            clock::advance(end.saturating_duration_since(clock::now()));
        }
        Ok(())
    }

    fn read(&mut self, output: &str) -> Result<Vec<f32>> {
        let end = self.device.end();
        let mut device = self.device.state();
        device.call()?;
        clock::advance(end.map_or(Duration::ZERO, |end| end.saturating_duration_since(clock::now())));
        Ok(device.output(output))
    }

    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>> {
        Ok(self.read(output)?.into_iter().map(|value| value as u32).collect())
    }

    fn try_read(&mut self, output: &str) -> Result<Option<Vec<f32>>> {
        let mut device = self.device.state();
        device.call()?;
        Ok(device.try_output(output))
    }

    fn try_read_u32(&mut self, output: &str) -> Result<Option<Vec<u32>>> {
        Ok(self.try_read(output)?.map(|values| values.into_iter().map(|value| value as u32).collect()))
    }

    fn find_non_finite(&mut self, _: Range<usize>) -> Result<Option<String>> {
        panic!("all that a fake device computes is finite")
    }
}
