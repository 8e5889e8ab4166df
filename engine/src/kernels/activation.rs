//! The activations that kernels apply when they load and store values.

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
    /// `x * (1 + erf(x / sqrt 2)) / 2`, the exact GELU
    Gelu,
}

impl Activation {
    /// Applies the activation to one value, with the functions of `libm`.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::Identity => x,
            // NaN stays NaN; f32::max would drop it.
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
