//! Tests that a run allocates nothing, and that an executor holds as much memory as it reports. It has its own
//! test binary with a single test, because the allocations of all threads are counted.

#[allow(dead_code, reason = "other tests build other programs")]
mod models;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};

use percept::Precision;
use percept::device::Executor;
use percept::device::cpu::Cpu;
use percept::diffusion::Batch;
use percept::images::npz::NpzFile;
use percept::{Device, Method};
use percept_tests::SplitMix;

use models::{Model, golden};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static HELD_BYTES: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: every call is forwarded unchanged to the system's allocator; counting does not touch allocated
// memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        LARGEST.fetch_max(layout.size(), SeqCst);
        HELD_BYTES.fetch_add(layout.size() as isize, SeqCst);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        LARGEST.fetch_max(layout.size(), SeqCst);
        HELD_BYTES.fetch_add(layout.size() as isize, SeqCst);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        HELD_BYTES.fetch_add(size as isize - layout.size() as isize, SeqCst);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD_BYTES.fetch_sub(layout.size() as isize, SeqCst);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns the number of allocations during `work`, on any thread, and the size of the largest in bytes.
fn allocations(work: impl FnOnce()) -> (usize, usize) {
    let before = ALLOCATIONS.load(SeqCst);
    LARGEST.store(0, SeqCst);
    work();
    (ALLOCATIONS.load(SeqCst) - before, LARGEST.load(SeqCst))
}

/// Returns an executor of a sampling program with its inputs written and a first step done, and the bytes that
/// loading it allocated.
fn warm(model: &Model, method: &Method, device: &Device) -> (Box<dyn Executor>, isize) {
    let sampling = model.sampling(method, 2);
    // Convert the program to the device's precision here, because the device would otherwise allocate a
    // converted copy.
    let program = Arc::new(sampling.program().stored_in(device.precision()));
    let before = HELD_BYTES.load(SeqCst);
    let mut executor = device.load(program, model.weights.as_ref()).expect("an executor");
    let held = HELD_BYTES.load(SeqCst) - before;
    let config = model.unet_config();
    let feat = SplitMix::new(1).floats(2 * config.ssl_dim);
    let labels = if config.classes() > 0 { vec![0, 1] } else { Vec::new() };
    let batch = Batch { feat: &feat, labels: &labels, seed: 1, ..Batch::default() };
    sampling.run(executor.as_mut(), &batch, &mut |_, _| Ok(ControlFlow::Break(()))).expect("a step");
    (executor, held)
}

/// The number of runs after which rayon's queue of work from outside its threads allocates another block, and
/// the largest size of a block in bytes. Nothing else allocates on the CPU.
const RUNS_PER_BLOCK: usize = 63;
const BLOCK_BYTES: usize = 2048;

#[test]
fn a_run_allocates_nothing_and_an_executor_holds_what_it_says() {
    // The counter must count, and on other threads too.
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0u8; 100]))), (1, 100));
    let other_thread = || drop(std::thread::spawn(|| drop(std::hint::black_box(vec![0u8; 5000]))).join());
    assert!(allocations(other_thread).1 >= 5000);

    let cpu = |threads| Device::from(Cpu::new(Some(threads)).expect("threads"));
    let halves = cpu(1).with_precision(Precision::F16);
    let devices = [("reference", Device::reference()), ("1 thread", cpu(1)), ("2 threads", cpu(2)), ("f16", halves)];
    let models = [
        ("sampler_fixed_large_8", Method::ddpm(40), 130),
        ("unet_rcdm_32_cbn", Method::ddim(40), 3),
        ("unet_adm_classcond_32", Method::ddim(40), 3),
    ];
    // The first executor is not measured, because the test harness may still be allocating.
    drop(warm(&golden(models[0].0), &models[0].1, &devices[2].1));
    for (name, method, steps) in models {
        let model = golden(name);
        for (device_name, device) in &devices {
            let at = format!("{name} on {device_name}");
            let (mut executor, held) = warm(&model, &method, device);
            let (prologue, body) = (executor.program().prologue(), executor.program().body());
            let (steps, most) = match *device_name {
                "reference" => (1, 0),
                _ => (steps, (steps + 1) / RUNS_PER_BLOCK + 1),
            };
            let (count, largest) = allocations(|| {
                executor.run(prologue).expect("a prologue");
                (0..steps).for_each(|_| executor.run(body.clone()).expect("a step"));
            });
            println!("{at}: {count} allocations of at most {largest} bytes in {steps} steps");
            assert!(count <= most && largest <= BLOCK_BYTES, "{at}: {count} allocations of up to {largest} bytes");

            let said = executor.memory().total() as isize;
            println!("{at}: {said} bytes said, {held} held");
            // Besides its buffers an executor holds tables of them: less than a hundred bytes per value.
            let tables = 100 * executor.program().values().len() as isize;
            assert!((0..tables).contains(&(held - said)), "{at}: {said} bytes said, {held} held");
        }
    }
    pictures_that_were_written_are_not_held();
}

/// Asserts that an npz file does not keep written pictures in memory, however many there are.
fn pictures_that_were_written_are_not_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = image::RgbImage::new(64, 64);
    let mut file = NpzFile::create(folder.path().join("s.npz"), 1010, [64, 64]).expect("a file");
    (0..10).for_each(|_| file.push(&picture).expect("a row"));
    let held = HELD_BYTES.load(SeqCst);
    let (_, largest) = allocations(|| (0..1000).for_each(|_| file.push(&picture).expect("a row")));
    assert!(largest < picture.len() && HELD_BYTES.load(SeqCst) - held < picture.len() as isize, "{largest}");
    file.finish().expect("a file");
}
