//! The UNet of guided-diffusion with the flags that RCDM has as released: residual blocks with
//! FiLM that also change the resolution, conditioned through the time embedding.

use burn::nn::GroupNorm;
use burn::tensor::activation::silu;
use burn::tensor::ops::{AttentionModuleOptions, AvgPoolOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, module};
use serde::Deserialize;

use crate::Result;
use crate::layers::{Conv, Linear, Loader};

/// The flags of a small RCDM, as in percept's benchmarks.
pub const RCDM_32: &str = r#"{"image_size": 32, "num_channels": 32, "num_res_blocks": 1, "num_heads": 4,
    "attention_resolutions": "8", "channel_mult": "1,2,4", "resblock_updown": true,
    "use_scale_shift_norm": true, "learn_sigma": true, "ssl_dim": 256, "conditioning": "time_embedding"}"#;

/// guided-diffusion's flags, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
pub struct UnetConfig {
    pub image_size: usize,
    pub num_channels: usize,
    pub ssl_dim: usize,
    num_res_blocks: usize,
    num_heads: usize,
    num_heads_upsample: i64,
    num_head_channels: i64,
    attention_resolutions: String,
    channel_mult: String,
    class_cond: bool,
    use_scale_shift_norm: bool,
    resblock_updown: bool,
    use_new_attention_order: bool,
    learn_sigma: bool,
    conditioning: String,
    spectral_norm: bool,
}

impl Default for UnetConfig {
    fn default() -> Self {
        UnetConfig {
            image_size: 64,
            num_channels: 128,
            ssl_dim: 0,
            num_res_blocks: 2,
            num_heads: 4,
            num_heads_upsample: -1,
            num_head_channels: -1,
            attention_resolutions: "16,8".into(),
            channel_mult: String::new(),
            class_cond: false,
            use_scale_shift_norm: true,
            resblock_updown: false,
            use_new_attention_order: false,
            learn_sigma: false,
            conditioning: "none".into(),
            spectral_norm: false,
        }
    }
}

impl UnetConfig {
    /// Reads the flags and refuses those that this peer has no code for.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: UnetConfig = serde_json::from_str(json)?;
        let supported = [
            ("num_heads_upsample", config.num_heads_upsample == -1, "-1"),
            ("num_head_channels", config.num_head_channels == -1, "-1"),
            ("class_cond", !config.class_cond, "false"),
            ("use_scale_shift_norm", config.use_scale_shift_norm, "true"),
            ("resblock_updown", config.resblock_updown, "true"),
            ("use_new_attention_order", !config.use_new_attention_order, "false"),
            ("conditioning", config.conditioning == "time_embedding", "\"time_embedding\""),
            ("spectral_norm", !config.spectral_norm, "false"),
            ("num_heads", config.num_heads > 0, "above 0"),
        ];
        match supported.into_iter().find(|(_, supported, _)| !supported) {
            Some((flag, _, only)) => Err(format!("{flag}: this peer supports {only} only").into()),
            None => Ok(config),
        }
    }

    /// Channels of each resolution, the finest first.
    fn channels(&self) -> Result<Vec<usize>> {
        let mult = match (self.channel_mult.as_str(), self.image_size) {
            ("", 256) => "1,1,2,2,4,4",
            ("", 128) => "1,1,2,3,4",
            ("", 64) => "1,2,3,4",
            (mult, _) => mult,
        };
        numbers("channel_mult", mult, |mult: f64| (mult * self.num_channels as f64) as usize)
    }
}

/// The numbers of a list with commas.
fn numbers<T: std::str::FromStr>(flag: &str, list: &str, map: impl Fn(T) -> usize) -> Result<Vec<usize>> {
    let number = |text: &str| text.trim().parse().map(&map).ok().filter(|&number| number > 0);
    let numbers: Option<Vec<usize>> = list.split(',').map(number).collect();
    Ok(numbers.ok_or_else(|| format!("{flag}: expected numbers with commas between them, got {list:?}"))?)
}

/// Sinusoidal embeddings `[timesteps, channels]`: cosines, then sines.
pub fn timestep_embeddings(timesteps: &[f32], channels: usize) -> Vec<f32> {
    let half = channels / 2;
    let frequency = |i: usize| f64::from(-(10_000f64.ln() as f32) * i as f32 / half as f32).exp() as f32;
    let row = |&timestep: &f32| {
        let angles: Vec<f64> = (0..half).map(|i| f64::from(timestep * frequency(i))).collect();
        let cosines = angles.iter().map(|angle| angle.cos() as f32);
        cosines.chain(angles.iter().map(|angle| angle.sin() as f32)).collect::<Vec<f32>>()
    };
    timesteps.iter().flat_map(row).collect()
}

pub struct Unet {
    time_embed: [Linear; 2],
    ssl_emb: Linear,
    first: Conv,
    /// Their results are kept for the output blocks.
    input_blocks: Vec<Vec<Layer>>,
    middle_block: Vec<Layer>,
    /// Each reads what was kept last beside what comes from below.
    output_blocks: Vec<Vec<Layer>>,
    out_norm: GroupNorm,
    out_conv: Conv,
}

enum Layer {
    Residual(Residual),
    Attention(Attention),
}

#[derive(Clone, Copy)]
enum Resample {
    Keep,
    Down,
    Up,
}

struct Residual {
    in_norm: GroupNorm,
    in_conv: Conv,
    emb: Linear,
    out_norm: GroupNorm,
    out_conv: Conv,
    skip: Option<Conv>,
    resample: Resample,
}

struct Attention {
    norm: GroupNorm,
    qkv: Linear,
    proj_out: Linear,
    heads: usize,
}

impl Unet {
    pub fn load(loader: &Loader<'_>, config: &UnetConfig) -> Result<Self> {
        let channels = config.channels()?;
        let attention = numbers("attention_resolutions", &config.attention_resolutions, |size: usize| {
            config.image_size.checked_div(size).unwrap_or(0)
        })?;
        let (base, embedding) = (config.num_channels, 4 * config.num_channels);
        let residual = |name: String, inputs: usize, out: usize, resample: Resample| {
            Residual::load(loader, &name, [inputs, out, embedding], resample).map(Layer::Residual)
        };
        let attend = |name: String, channels: usize| {
            Attention::load(loader, &name, channels, config.num_heads).map(Layer::Attention)
        };

        let mut current = channels[0];
        let first = loader.conv("input_blocks.0.0", [current, 3, 3])?;
        let (mut input_blocks, mut kept) = (Vec::new(), vec![current]);
        for (level, &out) in channels.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let name = format!("input_blocks.{}", input_blocks.len() + 1);
                let mut block = vec![residual(format!("{name}.0"), current, out, Resample::Keep)?];
                if attention.contains(&(1 << level)) {
                    block.push(attend(format!("{name}.1"), out)?);
                }
                input_blocks.push(block);
                current = out;
                kept.push(current);
            }
            if level + 1 < channels.len() {
                let name = format!("input_blocks.{}.0", input_blocks.len() + 1);
                input_blocks.push(vec![residual(name, current, current, Resample::Down)?]);
                kept.push(current);
            }
        }

        let middle_block = vec![
            residual("middle_block.0".into(), current, current, Resample::Keep)?,
            attend("middle_block.1".into(), current)?,
            residual("middle_block.2".into(), current, current, Resample::Keep)?,
        ];

        let mut output_blocks = Vec::new();
        for (level, &out) in channels.iter().enumerate().rev() {
            for index in 0..=config.num_res_blocks {
                let name = format!("output_blocks.{}", output_blocks.len());
                let skip = kept.pop().unwrap_or(0);
                let mut block = vec![residual(format!("{name}.0"), current + skip, out, Resample::Keep)?];
                if attention.contains(&(1 << level)) {
                    block.push(attend(format!("{name}.1"), out)?);
                }
                if level > 0 && index == config.num_res_blocks {
                    block.push(residual(format!("{name}.{}", block.len()), out, out, Resample::Up)?);
                }
                output_blocks.push(block);
                current = out;
            }
        }

        Ok(Unet {
            time_embed: [
                loader.linear("time_embed.0", &[embedding, base])?,
                loader.linear("time_embed.2", &[embedding, embedding])?,
            ],
            ssl_emb: loader.linear("ssl_emb", &[embedding, config.ssl_dim])?,
            first,
            input_blocks,
            middle_block,
            output_blocks,
            out_norm: loader.group_norm("out.0", current)?,
            out_conv: loader.conv("out.2", [if config.learn_sigma { 6 } else { 3 }, current, 3])?,
        })
    }

    /// What depends on the representation alone.
    pub fn condition(&self, feat: Tensor<2>) -> Tensor<2> {
        self.ssl_emb.forward(feat)
    }

    /// `x [n, 3, h, w]`, sinusoidal embeddings `time [n, num_channels]`; returns `[n, 3 or 6, h, w]`.
    pub fn forward(&self, x: Tensor<4>, time: Tensor<2>, condition: Tensor<2>) -> Tensor<4> {
        let hidden = silu(self.time_embed[0].forward(time));
        // Only its SiLU is ever used.
        let emb = silu(self.time_embed[1].forward(hidden) + condition);

        let run = |block: &[Layer], h: Tensor<4>| block.iter().fold(h, |h, layer| layer.forward(h, &emb));
        let mut h = self.first.forward(x);
        let mut kept = vec![h.clone()];
        for block in &self.input_blocks {
            h = run(block, h);
            kept.push(h.clone());
        }
        h = run(&self.middle_block, h);
        for block in &self.output_blocks {
            let both = [h].into_iter().chain(kept.pop()).collect();
            h = run(block, Tensor::cat(both, 1));
        }
        self.out_conv.forward(silu(self.out_norm.forward(h)))
    }
}

impl Layer {
    fn forward(&self, h: Tensor<4>, emb: &Tensor<2>) -> Tensor<4> {
        match self {
            Layer::Residual(residual) => residual.forward(h, emb.clone()),
            Layer::Attention(attention) => attention.forward(h),
        }
    }
}

impl Residual {
    fn load(
        loader: &Loader<'_>,
        name: &str,
        [inputs, out, embedding]: [usize; 3],
        resample: Resample,
    ) -> Result<Residual> {
        let skip = (inputs != out).then(|| loader.conv(&format!("{name}.skip_connection"), [out, inputs, 1]));
        Ok(Residual {
            in_norm: loader.group_norm(&format!("{name}.in_layers.0"), inputs)?,
            in_conv: loader.conv(&format!("{name}.in_layers.2"), [out, inputs, 3])?,
            emb: loader.linear(&format!("{name}.emb_layers.1"), &[2 * out, embedding])?,
            out_norm: loader.group_norm(&format!("{name}.out_layers.0"), out)?,
            out_conv: loader.conv(&format!("{name}.out_layers.3"), [out, out, 3])?,
            skip: skip.transpose()?,
            resample,
        })
    }

    fn forward(&self, x: Tensor<4>, emb: Tensor<2>) -> Tensor<4> {
        let y = self.resample.forward(silu(self.in_norm.forward(x.clone())));
        let x = self.resample.forward(x);
        let y = self.in_conv.forward(y);

        let [n, channels, ..] = y.dims();
        let rows = self.emb.forward(emb).reshape([n, 2 * channels, 1, 1]);
        let (scale, shift) = (rows.clone().narrow(1, 0, channels), rows.narrow(1, channels, channels));
        let y = silu(self.out_norm.forward(y) * (scale + 1.0) + shift);
        let shortcut = self.skip.as_ref().map_or(x.clone(), |skip| skip.forward(x));
        shortcut + self.out_conv.forward(y)
    }
}

impl Resample {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Resample::Keep => x,
            Resample::Down => module::avg_pool2d(x, AvgPoolOptions::new([2; 2])),
            Resample::Up => {
                let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false);
                module::interpolate(x, nearest.with_scale_factor([2.0; 2]))
            }
        }
    }
}

impl Attention {
    fn load(loader: &Loader<'_>, name: &str, channels: usize, heads: usize) -> Result<Attention> {
        if !channels.is_multiple_of(heads) {
            return Err(format!("num_heads: expected a divisor of {channels} channels, got {heads}").into());
        }
        Ok(Attention {
            norm: loader.group_norm(&format!("{name}.norm"), channels)?,
            qkv: loader.linear(&format!("{name}.qkv"), &[3 * channels, channels, 1])?,
            proj_out: loader.linear(&format!("{name}.proj_out"), &[channels, channels, 1])?,
            heads,
        })
    }

    /// Tokens go before channels: on wgpu, burn 0.22.1's `attention` gives wrong numbers without an error
    /// where the channels of a head do not lie side by side in memory.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, channels, height, width] = x.dims();
        let (tokens, d) = (height * width, channels / self.heads);
        let normed = self.norm.forward(x.clone()).reshape([n, channels, tokens]).swap_dims(1, 2);
        let qkv = self.qkv.forward(normed).reshape([n, tokens, self.heads, 3 * d]).swap_dims(1, 2);
        let part = |index: usize| qkv.clone().narrow(3, index * d, d);
        let y = module::attention(part(0), part(1), part(2), None, None, AttentionModuleOptions::default());
        let y = self.proj_out.forward(y.swap_dims(1, 2).reshape([n, tokens, channels]));
        x + y.swap_dims(1, 2).reshape([n, channels, height, width])
    }
}
