//! Slow work that is kept off the window's thread: opening models, encoding a picture, loading a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use eframe::egui;
use image::RgbImage;
use percept::Result;
use percept::images;
use percept::{Bundle, Device, Job, SampleOptions};

/// A request for a run.
pub struct Request {
    pub bundle: PathBuf,
    pub picture: PathBuf,
    pub device: Device,
    pub options: SampleOptions,
}

/// A run that is ready to be advanced.
pub struct Started {
    /// The request. The choices in the window may have changed since.
    pub request: Request,
    pub job: Job,
    /// The picture that was encoded.
    pub picture: RgbImage,
    /// The pixels per side of its images.
    pub size: u32,
}

/// A thread that answers requests in order. Dropping the worker waits for the current request, because a program may
/// crash if it ends while one of its threads still uses a driver.
pub struct Worker {
    /// `None` once there will be no more requests.
    requests: Option<Sender<Request>>,
    answers: Receiver<Result<Started>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that requests a repaint of `window` after each answer.
    pub fn new(window: egui::Context) -> Self {
        let (requests, asked) = channel::<Request>();
        let (answer, answers) = channel();
        let thread = std::thread::spawn(move || {
            let mut bundles = BTreeMap::new();
            for request in asked {
                if answer.send(start(&mut bundles, request)).is_err() {
                    return;
                }
                window.request_repaint();
            }
        });
        Worker { requests: Some(requests), answers, thread: Some(thread) }
    }

    /// Requests a run. Returns true if there will be an answer.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok())
    }

    /// Returns the next answer, or `None` if there is none yet.
    pub fn answer(&self) -> Option<Result<Started>> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, its message has already been printed.
            let _ = thread.join();
        }
    }
}

/// Starts the run of a request. Keeps bundles open, by file and device.
fn start(bundles: &mut BTreeMap<(PathBuf, String), Bundle>, request: Request) -> Result<Started> {
    let picture = images::open(&request.picture)?;
    let key = (request.bundle.clone(), request.device.name());
    if !bundles.contains_key(&key) {
        bundles.insert(key.clone(), Bundle::open(&request.bundle, &request.device)?);
    }
    let Some(bundle) = bundles.get_mut(&key) else { unreachable!("it was put there") };
    let h = bundle.encoder.encode(&picture)?;
    let job = bundle.rcdm.start(&[&h], &request.options)?;
    Ok(Started { request, job, picture, size: bundle.rcdm.config().image_size as u32 })
}
