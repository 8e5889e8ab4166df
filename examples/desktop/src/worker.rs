//! What takes long, away from the window's thread: opening models, encoding a picture, loading a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use eframe::egui;
use image::RgbImage;
use percept::Result;
use percept::pipeline::{Bundle, Device, Job, SampleOptions, image_file};

/// What is to be sampled.
pub struct Request {
    pub bundle: PathBuf,
    pub picture: PathBuf,
    pub device: Device,
    pub options: SampleOptions,
}

/// A run that is ready to be advanced.
pub struct Started {
    /// What was asked for; what is chosen in the window may be something else by now.
    pub request: Request,
    pub job: Job,
    /// The picture that it was made of.
    pub picture: RgbImage,
    /// Pixels a side of its images.
    pub size: u32,
}

/// A thread that answers requests in turn. Dropped, it waits for the one that is being answered: a program that ends while a
/// thread of it still uses a driver may crash.
pub struct Worker {
    /// None once no more are to come.
    requests: Option<Sender<Request>>,
    answers: Receiver<Result<Started>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// A thread that has `window` drawn when it has answered.
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

    /// Asks for a run; whether there will be an answer.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok())
    }

    /// The next answer, if there is one by now.
    pub fn answer(&self) -> Option<Result<Started>> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of its has been printed.
            let _ = thread.join();
        }
    }
}

/// Bundles stay open, by file and device.
fn start(bundles: &mut BTreeMap<(PathBuf, String), Bundle>, request: Request) -> Result<Started> {
    let picture = image_file::open(&request.picture)?;
    let key = (request.bundle.clone(), request.device.name());
    if !bundles.contains_key(&key) {
        bundles.insert(key.clone(), Bundle::open(&request.bundle, &request.device)?);
    }
    let Some(bundle) = bundles.get_mut(&key) else { unreachable!("it was put there") };
    let h = bundle.encoder.encode(&picture)?;
    let job = bundle.rcdm.start(&[&h], &request.options)?;
    Ok(Started { request, job, picture, size: bundle.rcdm.config().image_size as u32 })
}
