//! Encodes images into representations, and writes representations to files and reads them back.

mod encoder;
mod float_rows;
mod programs;
mod representations;
mod weights;

pub use encoder::Encoder;
pub use float_rows::FloatRows;
pub use representations::Representations;
