//! A program that shares its own wgpu device with percept. percept computes within the program's frames, pictures
//! appear in the program's texture, and no picture is read back.

use std::path::Path;
use std::time::Duration;

use percept::device::gpu::{Gpu, Place};
use percept::images;
use percept::wgpu;
use percept::{Bundle, Device, Method, SampleOptions, Status};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The program's own device, with default limits and no features.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("what is shown"),
        size: wgpu::Extent3d { width: 64, height: 32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });

    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let shared = Device::from(Gpu::from_wgpu(&device, &queue));
    let mut bundle = Bundle::open(assets.join("trunk.bundle.json"), &shared)?;
    let h = bundle.encoder.encode(&images::open(assets.join("images/4_star.png"))?)?;
    let options = SampleOptions { samples: 2, method: Method::ddim(8), ..SampleOptions::default() };
    let mut job = bundle.rcdm.start(&[&h], &options)?;
    let mut shown = 0;
    while job.progress().status == Status::Running {
        // One encoder and one submission serve the program's frame and percept's part of it.
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let done = job.record(&mut encoder, Duration::from_millis(8))?.done;
        if done > shown {
            for sample in job.in_view() {
                job.show(&mut encoder, sample, &Place { texture: &texture, x: 32 * sample as u32, y: 0 })?;
            }
            println!("step {done} is in the texture");
            shown = done;
        }
        // The program draws its frame here.
        queue.submit([encoder.finish()]);
        std::thread::sleep(Duration::from_millis(8));
    }
    Ok(())
}
