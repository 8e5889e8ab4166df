//! The fast CPU path. The expensive kernels use all cores and the machine's vector instructions; the others run as
//! twins.

mod attention;
mod conv;
mod dense;
mod matmul;
mod norm;
mod pool;
mod simd;

use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::HostBackend;
use crate::kernels::{Kernel, Reads};
use crate::program::Op;
use crate::weights::{Recipe, WeightSource};
use crate::{Error, Result, reference};

/// The number of `f32`s in the tile that a task of a matrix product gathers. A block of widened weights follows it.
const TILE: usize = matmul::TILE_ROWS * matmul::KC;

/// The number of elements that a task converts to or from half precision.
const CONVERTED: usize = 1 << 15;

/// The scratch that an op needs, in `f32`s.
#[derive(Clone, Copy, Debug, Default)]
struct Scratch {
    accumulators: usize,
    loaded: usize,
    /// Per thread.
    tile: usize,
}

/// The threads, with a tile of scratch for each.
pub struct Threads {
    pool: Arc<ThreadPool>,
    tiles: Vec<Mutex<Vec<f32>>>,
}

impl Threads {
    fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Calls `work` with this thread's tile.
    fn with_tile<R>(&self, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let thread = self.pool.current_thread_index().unwrap_or(0);
        // Each thread locks only its own tile, so the lock is never contended. A kernel that panics leaves nothing in
        // the tile that the next task reads.
        let mut tile = self.tiles[thread].lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut tile)
    }
}

/// The CPU as a device: a pool of threads, shared by all programs that are loaded onto it.
#[derive(Clone)]
pub struct Cpu {
    pool: Arc<ThreadPool>,
}

impl Cpu {
    /// Creates a CPU device with the given number of threads, or one per core if `threads` is `None`.
    ///
    /// # Errors
    /// Returns [`Error::Device`] if the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let builder = ThreadPoolBuilder::new().thread_name(|index| format!("percept-{index}"));
        let pool = builder.num_threads(threads.unwrap_or(0)).build();
        let pool = pool.map_err(|error| Error::device("cpu", "threads to compute on", error))?;
        Ok(Cpu { pool: Arc::new(pool) })
    }

    /// Returns the number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Returns the number of threads and vector lanes, as `percept devices` prints them.
    pub fn description(&self) -> String {
        format!("{} threads, {} f32 lanes", self.threads(), *simd::LANES)
    }

    /// Returns the kernels of this device.
    pub fn backend(&self) -> CpuBackend {
        let threads = Threads { pool: self.pool.clone(), tiles: Vec::new() };
        CpuBackend { threads, accumulators: Vec::new(), loaded: Vec::new() }
    }
}

/// The kernels of a [`Cpu`], with the scratch of one program.
pub struct CpuBackend {
    threads: Threads,
    accumulators: Vec<f32>,
    loaded: Vec<f32>,
}

impl CpuBackend {
    /// Returns the scratch that suffices for each of the ops.
    fn scratch(&self, ops: &[Op]) -> Scratch {
        let threads = self.threads.count();
        let of_op = |op: &Op| match &op.kernel {
            Kernel::Conv(p) => conv::scratch(p, threads),
            Kernel::Dense(p) => dense::scratch(p, threads),
            Kernel::Attention(p) => attention::scratch(p),
            Kernel::AvgPool(p) => pool::scratch(p),
            _ => Scratch::default(),
        };
        ops.iter().map(of_op).fold(Scratch::default(), |most, one| Scratch {
            accumulators: most.accumulators.max(one.accumulators),
            loaded: most.loaded.max(one.loaded),
            tile: most.tile.max(one.tile),
        })
    }
}

impl HostBackend for CpuBackend {
    fn weight_elements(&self, recipe: &Recipe) -> usize {
        match recipe {
            Recipe::Matrix { depth, .. } => matmul::packed_len(*depth, recipe.shape()[1]),
            _ => recipe.shape().elements(),
        }
    }

    fn load(&self, recipe: &Recipe, source: &dyn WeightSource, put: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let Recipe::Matrix { depth, .. } = recipe else {
            put(0, &recipe.load(source)?);
            return Ok(());
        };
        recipe.load_parts(source, |first, columns, part| matmul::pack(*depth, first, columns, part, &mut *put))
    }

    fn widen(&self, halves: &[f16], floats: &mut [f32]) {
        floats.par_chunks_mut(CONVERTED).zip(halves.par_chunks(CONVERTED)).for_each(|(floats, halves)| {
            halves.convert_to_f32_slice(floats);
        });
    }

    fn narrow(&self, floats: &[f32], halves: &mut [f16]) {
        halves.par_chunks_mut(CONVERTED).zip(floats.par_chunks(CONVERTED)).for_each(|(halves, floats)| {
            halves.convert_from_f32_slice(floats);
        });
    }

    fn prepare(&mut self, ops: &[Op]) {
        let most = self.scratch(ops);
        self.accumulators = vec![0.0; most.accumulators];
        self.loaded = vec![0.0; most.loaded];
        self.threads.tiles = (0..self.threads.count()).map(|_| Mutex::new(vec![0.0; most.tile])).collect();
    }

    fn scratch_bytes(&self, ops: &[Op]) -> usize {
        let most = self.scratch(ops);
        (most.accumulators + most.loaded + self.threads.count() * most.tile) * size_of::<f32>()
    }

    fn run(&mut self, kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]) {
        let CpuBackend { threads, accumulators, loaded } = self;
        match (kernel, &mut *writes) {
            (Kernel::Conv(p), [output, stats @ ..]) => {
                conv::conv(p, reads, bytemuck::cast_slice_mut(output), threads, accumulators, loaded);
                if let (Some(of_output), [stats]) = (p.channel_stats(), stats) {
                    norm::channel_stats(&of_output, Reads::new(&[&**output]), bytemuck::cast_slice_mut(stats));
                }
            }
            (Kernel::Dense(p), [output]) => {
                dense::dense(p, reads, bytemuck::cast_slice_mut(output), threads, accumulators);
            }
            (Kernel::Attention(p), [output]) => {
                attention::attention(p, reads, bytemuck::cast_slice_mut(output), threads, loaded);
            }
            (Kernel::AvgPool(p), [output]) => pool::avg_pool(p, reads, bytemuck::cast_slice_mut(output), threads),
            (Kernel::MaxPool(p), [output]) => pool::max_pool(p, reads, bytemuck::cast_slice_mut(output)),
            (Kernel::ChannelStats(p), [output]) => norm::channel_stats(p, reads, bytemuck::cast_slice_mut(output)),
            (Kernel::GroupAffine(p), [output]) => norm::group_affine(p, reads, output),
            (Kernel::LayerNorm(p), [output]) => norm::layer_norm(p, reads, bytemuck::cast_slice_mut(output)),
            _ => reference::run(kernel, reads, writes),
        }
    }

    fn scope(&mut self, body: &mut (dyn FnMut(&mut Self) + Send)) {
        // Enter the pool once for all ops rather than once per op.
        let pool = self.threads.pool.clone();
        pool.install(|| body(self));
    }
}
