//! The models, samplers, schedules and crops against PyTorch's goldens, on every device.

mod goldens;
