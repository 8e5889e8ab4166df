//! The time of each op, by the device's own clock.

use std::ops::Range;

use super::executor::GpuExecutor;
use crate::Result;

/// The number of ops whose timestamps, two for each, fit in one query set.
const OPS_PER_SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;
/// The size of a timestamp, in bytes.
const TIMESTAMP: usize = 8;

impl GpuExecutor {
    /// Runs ops, each in its own compute pass, and returns the nanoseconds that each took, or `None` without
    /// `TIMESTAMP_QUERY`. The times include the overhead of a pass per op, so their sum exceeds the time of a run in
    /// one pass.
    ///
    /// # Errors
    /// See [`Executor::run`](crate::device::Executor::run).
    pub(super) fn timed(&mut self, ops: Range<usize>) -> Result<Option<Vec<u64>>> {
        if !self.gpu().device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let mut nanoseconds = Vec::with_capacity(ops.len());
        for first in ops.clone().step_by(OPS_PER_SET) {
            nanoseconds.extend(self.timed_at_once(first..ops.end.min(first + OPS_PER_SET))?);
        }
        Ok(Some(nanoseconds))
    }

    /// Runs ops whose timestamps fit in one query set.
    fn timed_at_once(&mut self, ops: Range<usize>) -> Result<Vec<u64>> {
        let gpu = self.gpu().clone();
        let queries = 2 * ops.len() as u32;
        let resolved = gpu.scoped("a timed run", || {
            let set = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: queries,
            });
            let resolved = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: (queries as usize * TIMESTAMP) as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("percept, timed") };
            let mut encoder = gpu.device().create_command_encoder(&descriptor);
            for (query, op) in (0..).step_by(2).zip(ops.clone()) {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &set,
                        beginning_of_pass_write_index: Some(query),
                        end_of_pass_write_index: Some(query + 1),
                    }),
                });
                self.record_into(&mut pass, op..op + 1);
            }
            encoder.resolve_query_set(&set, 0..queries, &resolved, 0);
            self.submit_recorded(encoder, ops.clone()).map(|()| resolved)
        })?;
        let words = gpu.read(&resolved, 0, queries as usize * TIMESTAMP)?;
        let period = f64::from(gpu.queue().get_timestamp_period());
        let tick = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let (stamps, _) = words.as_chunks::<4>();
        let took = |[b0, b1, e0, e1]: &[u32; 4]| tick(*e0, *e1).saturating_sub(tick(*b0, *b1));
        Ok(stamps.iter().map(|stamp| (took(stamp) as f64 * period) as u64).collect())
    }
}
