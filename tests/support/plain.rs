//! Plain operations in `f64`, one by one, to compose the result of a fused kernel. Kernels gather; these
//! operations scatter.

use percept::kernels::{Activation, RowSlice};

/// Values `[n, h, w, c]` in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Samples, height, width, channels.
    pub shape: [usize; 4],
    /// The values, channels innermost.
    pub data: Vec<f64>,
}

impl Image {
    /// Creates an image of the given values.
    ///
    /// # Panics
    /// Panics if the number of values does not match the shape.
    #[track_caller]
    pub fn new(shape: [usize; 4], data: &[f32]) -> Self {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "elements of {shape:?}");
        Image { shape, data: data.iter().map(|&v| f64::from(v)).collect() }
    }

    /// Creates an image whose values are all the same.
    pub fn filled(shape: [usize; 4], value: f64) -> Self {
        Image { shape, data: vec![value; shape.iter().product()] }
    }

    /// Returns the position of the element at `[n, y, x, c]` in `data`.
    pub fn at(&self, [n, y, x, c]: [usize; 4]) -> usize {
        let [_, h, w, channels] = self.shape;
        ((n * h + y) * w + x) * channels + c
    }

    /// Returns the index `[n, y, x, c]` of every element, in order.
    pub fn indices(&self) -> Vec<[usize; 4]> {
        let [samples, h, w, channels] = self.shape;
        let mut indices = Vec::with_capacity(self.data.len());
        for n in 0..samples {
            for y in 0..h {
                for x in 0..w {
                    indices.extend((0..channels).map(|c| [n, y, x, c]));
                }
            }
        }
        indices
    }

    /// Replaces every value by `f(index, value)`.
    pub fn map(mut self, f: impl Fn([usize; 4], f64) -> f64) -> Self {
        for (i, index) in self.indices().into_iter().enumerate() {
            self.data[i] = f(index, self.data[i]);
        }
        self
    }

    /// Concatenates this image and another along the channels.
    pub fn concat(&self, other: &Image) -> Self {
        let [n, h, w, first] = self.shape;
        let second = other.shape[3];
        let pixels = self.data.chunks(first).zip(other.data.chunks(second));
        let data = pixels.flat_map(|(a, b)| [a, b].concat()).collect();
        Image { shape: [n, h, w, first + second], data }
    }

    /// Applies `activation(x * scale + shift)`, with scale and shift from the rows of each sample.
    pub fn affine(self, rows: &[f32], slice: RowSlice, activation: Activation) -> Self {
        let channels = self.shape[3];
        self.map(|[n, _, _, c], x| {
            let row = &rows[n * slice.row_length..(n + 1) * slice.row_length][slice.offset..];
            activate(activation, x * f64::from(row[c]) + f64::from(row[channels + c]))
        })
    }

    /// Repeats every pixel `times` by `times` times.
    pub fn enlarge(&self, times: usize) -> Self {
        let [n, h, w, c] = self.shape;
        let mut large = Image::filled([n, h * times, w * times, c], f64::NAN);
        for (i, [n, y, x, c]) in self.indices().into_iter().enumerate() {
            for (dy, dx) in pairs(times, times) {
                let at = large.at([n, y * times + dy, x * times + dx, c]);
                large.data[at] = self.data[i];
            }
        }
        large
    }

    /// Convolves by scattering: every pixel adds to each output that it contributes to. `weight` is `[kernel_h,
    /// kernel_w, in_channels, out_channels]`, `out` the size of the result.
    pub fn convolve(&self, weight: &[f32], kernel: [usize; 2], out: [usize; 3], stride: usize, padding: usize) -> Self {
        let [out_h, out_w, out_channels] = out;
        let mut result = Image::filled([self.shape[0], out_h, out_w, out_channels], 0.0);
        for (i, [n, y, x, c]) in self.indices().into_iter().enumerate() {
            for (ky, kx) in pairs(kernel[0], kernel[1]) {
                let (Some(p), Some(q)) =
                    (window(y + padding, ky, stride, out_h), window(x + padding, kx, stride, out_w))
                else {
                    continue;
                };
                for o in 0..out_channels {
                    let tap = ((ky * kernel[1] + kx) * self.shape[3] + c) * out_channels + o;
                    let at = result.at([n, p, q, o]);
                    result.data[at] += self.data[i] * f64::from(weight[tap]);
                }
            }
        }
        result
    }
}

/// Returns the index of the window whose `tap`-th pixel is at `position`, or `None` if it is not one of `count`
/// windows.
pub fn window(position: usize, tap: usize, stride: usize, count: usize) -> Option<usize> {
    let start = position.checked_sub(tap)?;
    (start % stride == 0 && start / stride < count).then_some(start / stride)
}

/// Returns all `(a, b)` with `a < height` and `b < width`.
pub fn pairs(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |a| (0..width).map(move |b| (a, b)))
}

/// Computes an activation in `f64`, from its definition.
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * (1.0 / (1.0 + (-x).exp())),
        Activation::Gelu => x * (1.0 + erf(x / 2f64.sqrt())) / 2.0,
    }
}

/// Computes the error function by its series `2 / sqrt(pi) exp(-x^2) sum_k 2^k x^(2k+1) / (2k+1)!!`, whose
/// terms all have the same sign. Beyond 6 it is 1 to the last digit.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..300 {
        term *= 2.0 * x * x / (2 * k + 1) as f64;
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn erf_has_the_tabulated_values() {
        assert_eq!(erf(0.0), 0.0);
        assert_relative_eq!(erf(0.5), 0.520_499_877_813_046_5, max_relative = 1e-14);
        assert_relative_eq!(erf(-1.0), -0.842_700_792_949_714_9, max_relative = 1e-14);
        assert_relative_eq!(erf(4.0), 0.999_999_984_582_742_1, max_relative = 1e-14);
        assert_relative_eq!(erf(-5.99), erf(-6.01), max_relative = 1e-14);
    }

    #[test]
    fn windows_are_those_that_hold_a_pixel() {
        // Windows of 3 at a stride of 2 over 7 pixels: 0 1 2, 2 3 4, 4 5 6.
        assert_eq!([0, 1, 2].map(|tap| window(4, tap, 2, 3)), [Some(2), None, Some(1)]);
        assert_eq!([0, 1, 2].map(|tap| window(6, tap, 2, 3)), [None, None, Some(2)]);
        assert_eq!([0, 1, 2].map(|tap| window(0, tap, 2, 3)), [Some(0), None, None]);
    }
}
