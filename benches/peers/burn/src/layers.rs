//! Layers in burn's operations, and how they are loaded under a checkpoint's names.

use burn::module::Param;
use burn::nn::{GroupNorm, GroupNormConfig};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module};

use crate::weights::Weights;
use crate::{Result, tensor};

/// Groups of every group norm.
const GROUPS: usize = 32;
const BATCH_NORM_EPS: f32 = 1e-5;

/// A convolution with a square kernel, padded so that stride 1 keeps the size.
pub struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
}

impl Conv {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        module::conv2d(x, self.weight.clone(), Some(self.bias.clone()), self.options.clone())
    }
}

/// A linear layer; burn wants its weight as `[in, out]`.
pub struct Linear {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Linear {
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::linear(x, self.weight.clone(), Some(self.bias.clone()))
    }
}

/// Puts weights on a device.
pub struct Loader<'a> {
    pub weights: &'a Weights,
    pub device: &'a Device,
}

impl Loader<'_> {
    /// A convolution with bias; `shape` is `[out, in, kernel]`.
    pub fn conv(&self, name: &str, shape: [usize; 3]) -> Result<Conv> {
        let [out, inputs, kernel] = shape;
        let weight = self.weights.values(&format!("{name}.weight"), &[out, inputs, kernel, kernel])?;
        self.conv_of(weight, self.bias(name, out)?, shape, 1)
    }

    /// A convolution without bias, the batch norm after it folded in.
    pub fn conv_bn(&self, name: &str, norm: &str, shape: [usize; 3], stride: usize) -> Result<Conv> {
        let [out, inputs, kernel] = shape;
        let mut weight = self.weights.values(&format!("{name}.weight"), &[out, inputs, kernel, kernel])?;
        let of_norm = |leaf: &str| self.weights.values(&format!("{norm}.{leaf}"), &[out]);
        let (gamma, mut bias) = (of_norm("weight")?, of_norm("bias")?);
        let (mean, variance) = (of_norm("running_mean")?, of_norm("running_var")?);
        for (channel, row) in weight.chunks_exact_mut(inputs * kernel * kernel).enumerate() {
            let gain = gamma[channel] / (variance[channel] + BATCH_NORM_EPS).sqrt();
            row.iter_mut().for_each(|weight| *weight *= gain);
            bias[channel] -= mean[channel] * gain;
        }
        self.conv_of(weight, bias, shape, stride)
    }

    fn conv_of(
        &self,
        weight: Vec<f32>,
        bias: Vec<f32>,
        [out, inputs, kernel]: [usize; 3],
        stride: usize,
    ) -> Result<Conv> {
        // `[out, in, y, x]` as a view of `[out, y, x, in]`: the order that burn's kernels want, and into which
        // each pass would copy the weights otherwise.
        let pixels = kernel * kernel;
        let row = |row: &[f32]| (0..inputs * pixels).map(|i| row[i % inputs * pixels + i / inputs]).collect::<Vec<_>>();
        let weight = weight.chunks_exact(inputs * pixels).flat_map(row).collect();
        Ok(Conv {
            weight: tensor(weight, [out, kernel, kernel, inputs], self.device)?.permute([0, 3, 1, 2]),
            bias: tensor(bias, [out], self.device)?,
            options: ConvOptions::new([stride; 2], [kernel / 2; 2], [1; 2], 1),
        })
    }

    /// A linear layer; `shape` is that of the stored weight, `[out, in]` or, for a convolution over tokens,
    /// `[out, in, 1]`.
    pub fn linear(&self, name: &str, shape: &[usize]) -> Result<Linear> {
        let (out, inputs) = (shape[0], shape[1]);
        let stored = self.weights.values(&format!("{name}.weight"), shape)?;
        let transposed = (0..inputs * out).map(|i| stored[i % out * inputs + i / out]).collect();
        Ok(Linear {
            weight: tensor(transposed, [inputs, out], self.device)?,
            bias: tensor(self.bias(name, out)?, [out], self.device)?,
        })
    }

    pub fn group_norm(&self, name: &str, channels: usize) -> Result<GroupNorm> {
        let gamma = self.weights.values(&format!("{name}.weight"), &[channels])?;
        let mut norm = GroupNormConfig::new(GROUPS, channels).init(self.device);
        norm.gamma = Some(Param::from_tensor(tensor(gamma, [channels], self.device)?));
        norm.beta = Some(Param::from_tensor(tensor(self.bias(name, channels)?, [channels], self.device)?));
        Ok(norm)
    }

    fn bias(&self, name: &str, out: usize) -> Result<Vec<f32>> {
        self.weights.values(&format!("{name}.bias"), &[out])
    }
}
