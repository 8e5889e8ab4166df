//! The activations that loads and stores apply.

/// An elementwise function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x / (1 + exp(-x))`
    Silu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`, the exact one
    Gelu,
}

impl Activation {
    /// The activation of one value, by `libm`.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::Identity => x,
            // NaN stays NaN, which f32::max would hide.
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Silu => x / (1.0 + libm::expf(-x)),
            Activation::Gelu => 0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2)),
        }
    }
}
