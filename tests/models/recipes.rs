//! Tests how weights are folded at load, against a direct computation in `f64`.

use percept::kernels::{Kernel, Load};
use percept::program::{Op, Program, Role, ValueId};
use percept::weights::{Positions, Recipe, Resizing, Synthetic, WeightSource};
use percept::{Result, Shape};
use percept_tests::{Bound, SplitMix, assert_close};

use crate::source::{config, listing, program};

const EPS: f64 = 1e-5;

/// Two roundings to `f32`: of the factor's sums and of the result.
const ROUNDED: Bound = Bound::new(1e-7, 1.2e-7);

/// A model and its weights in `f64`.
struct Model {
    weights: Synthetic,
    program: Program,
}

impl Model {
    fn of(golden: &str) -> Self {
        let weights = Synthetic::new(listing(golden));
        let program = program(golden, &config(golden), &weights).expect("a program");
        Model { weights, program }
    }

    fn tensor(&self, name: impl AsRef<str>) -> Vec<f64> {
        let name = name.as_ref();
        let values = self.weights.tensor(name).unwrap_or_else(|error| panic!("{error}"));
        values.into_iter().map(f64::from).collect()
    }

    /// Returns the weights that an op reads, as its recipes load them.
    fn loaded(&self, op: &Op) -> Vec<Vec<f32>> {
        let recipes = op.reads.iter().filter_map(|id| match &self.program.value(*id).role {
            Role::Weight(recipe) => Some(recipe.load(&self.weights).expect("a weight")),
            _ => None,
        });
        recipes.collect()
    }

    /// Returns gain and shift of a batch norm: y = gain x + shift.
    fn batch_norm(&self, norm: &str) -> (Vec<f64>, Vec<f64>) {
        let [gamma, beta, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(|leaf| self.tensor(format!("{norm}.{leaf}")));
        let gain: Vec<f64> = gamma.iter().zip(var).map(|(gamma, var)| gamma / (var + EPS).sqrt()).collect();
        let shift = (0..gain.len()).map(|o| beta[o] - mean[o] * gain[o]).collect();
        (gain, shift)
    }

    /// Returns a linear map `[out, in]`. If it has a `u0`, the map is divided by its spectral norm: the length
    /// of W v, where v is the direction of W^T u.
    fn linear(&self, layer: &str, depth: usize) -> Vec<f64> {
        let weight = self.tensor(format!("{layer}.weight"));
        if self.weights.shape(&format!("{layer}.u0")).is_none() {
            return weight;
        }
        let u = self.tensor(format!("{layer}.u0"));
        let length = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let v: Vec<f64> = (0..depth).map(|i| (0..u.len()).map(|o| u[o] * weight[o * depth + i]).sum()).collect();
        let sigma = length(&product(&weight, &v)) / length(&v);
        weight.into_iter().map(|w| w / sigma).collect()
    }
}

/// Returns W x, for W `[out, in]`.
fn product(weight: &[f64], x: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

#[test]
fn batch_norms_fold_into_convolutions() {
    for (golden, convolutions) in [("resnet18_64", 20), ("resnet50_224", 53)] {
        let model = Model::of(golden);
        let mut count = 0;
        for op in model.program.ops() {
            let Kernel::Conv(conv) = &op.kernel else { continue };
            count += 1;
            let norm = match op.layer.strip_suffix("downsample.0") {
                Some(block) => format!("{block}downsample.1"),
                None => op.layer.replace("conv", "bn"),
            };
            let (gain, shift) = model.batch_norm(&norm);
            let weight = model.tensor(format!("{}.weight", op.layer));
            // PyTorch's [out, in, h, w] as [h, w, in, out].
            let [out, channels, taps] = [conv.out_channels, conv.in_channels[0], conv.kernel[0] * conv.kernel[1]];
            let mut want = vec![f64::NAN; weight.len()];
            for (index, w) in weight.iter().enumerate() {
                let (o, c, tap) = (index / taps / channels, index / taps % channels, index % taps);
                want[(tap * channels + c) * out + o] = w * gain[o];
            }
            let loaded = model.loaded(op);
            assert_eq!(loaded.len(), 2, "{}: a matrix and a bias", op.layer);
            assert_close(&op.layer, &loaded[0], &want, ROUNDED);
            assert_close(&norm, &loaded[1], &shift, ROUNDED);
        }
        assert_eq!(count, convolutions, "{golden}");
    }
}

/// A linear layer, and its batch norm if it has one.
type Layer = (&'static str, Option<&'static str>);

#[test]
fn batch_norms_fold_into_linear_layers() {
    let heads: [(&str, &[Layer]); 4] = [
        ("head_vicreg", &[("0", Some("1")), ("3", Some("4")), ("6", None)]),
        ("head_barlow", &[("0.0", Some("0.1")), ("1.0", Some("1.1")), ("2.0", None)]),
        ("head_dino", &[("mlp.0", Some("mlp.1")), ("mlp.3", None)]),
        ("head_simclr", &[("mlp.0", None), ("mlp.2", None)]),
    ];
    for (golden, layers) in heads {
        let model = Model::of(golden);
        assert_eq!(model.program.ops().len(), layers.len(), "{golden}");
        for (op, (layer, norm)) in model.program.ops().iter().zip(layers) {
            assert_eq!(op.layer, *layer);
            let Kernel::Dense(dense) = &op.kernel else { panic!("{golden}: {:?}", op.kernel) };
            let [depth, out] = [dense.in_features, dense.out_features];
            let (gain, shift) = norm.map_or((vec![1.0; out], vec![0.0; out]), |norm| model.batch_norm(norm));
            let weight = model.tensor(format!("{layer}.weight"));
            let want: Vec<f64> = (0..depth * out).map(|i| weight[i % out * depth + i / out] * gain[i % out]).collect();
            let loaded = model.loaded(op);
            assert_close(&op.layer, &loaded[0], &want, ROUNDED);

            let own_bias = model.weights.shape(&format!("{layer}.bias")).map(|_| model.tensor(format!("{layer}.bias")));
            assert_eq!(loaded.len(), 1 + usize::from(own_bias.is_some() || norm.is_some()), "{golden} {layer}");
            if let Some(bias) = loaded.get(1) {
                let own_bias = own_bias.unwrap_or(vec![0.0; out]);
                let want: Vec<f64> = (0..out).map(|o| own_bias[o] * gain[o] + shift[o]).collect();
                assert_close(&op.layer, bias, &want, ROUNDED);
            }
        }
    }
}

/// Returns the name, the first column and the channels of the conditional batch norm whose gains and shifts an
/// op reads, or `None` if it reads none.
fn norm_read(op: &Op, norms: ValueId) -> Option<(String, usize, usize)> {
    if !op.reads.contains(&norms) {
        return None;
    }
    let offset = |load: &Load| match load {
        Load::Affine { rows, .. } => rows.offset,
        Load::Plain => panic!("{}: rows that are not used", op.layer),
    };
    let block = |leaf: &str| op.layer.strip_suffix(leaf).map(|block| format!("{block}in_layers.0"));
    match &op.kernel {
        Kernel::FilmAffine(p) => Some((op.layer.clone(), p.rows.offset, p.channels)),
        Kernel::Conv(p) => Some((block("in_layers.2").expect("a first convolution"), offset(&p.load), p.channels())),
        Kernel::AvgPool(p) => Some((block("h_upd").expect("a halved block"), offset(&p.load), p.channels)),
        other => panic!("{}: {other:?}", op.layer),
    }
}

/// y = (x - mean) / sqrt(var + eps) * (1 + G s + g) + (B s + b), with s = shared(h).
#[test]
fn conditional_batch_norms_fold_into_one_matrix() {
    for (golden, is_normed) in [("unet_rcdm_32_cbn", false), ("unet_rcdm_32_cbn_sn", true)] {
        let model = Model::of(golden);
        assert_eq!(model.weights.shape("shared.u0").is_some(), is_normed);
        let dense = |layer: &str| {
            let op = model.program.ops().iter().find(|op| op.layer == layer).expect(layer);
            (op, model.loaded(op))
        };
        // Returns `h` times a loaded matrix, which is stored `[in, out]`, plus the bias.
        let times = |h: &[f64], matrix: &[f32], bias: &[f32]| -> Vec<f64> {
            let columns = bias.len();
            let mut sums: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
            for (h, row) in h.iter().zip(matrix.chunks_exact(columns)) {
                sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += h * f64::from(w));
            }
            sums
        };
        let feat: Vec<f64> = SplitMix::new(11).floats(64).into_iter().map(f64::from).collect();
        let (_, loaded) = dense("shared");
        let s: Vec<f64> = product(&model.linear("shared", 64), &feat)
            .iter()
            .zip(model.tensor("shared.bias"))
            .map(|(sum, bias)| sum + bias)
            .collect();
        assert_close("shared", &times(&feat, &loaded[0], &loaded[1]), &s, Bound::new(1e-6, 0.0));

        let (op, loaded) = dense("conditional batch norms");
        let rows = times(&s, &loaded[0], &loaded[1]);
        let reads: Vec<_> = model.program.ops().iter().filter_map(|reader| norm_read(reader, op.writes[0])).collect();
        let residual_blocks = listing(golden).keys().filter(|name| name.ends_with("emb_layers.1.bias")).count();
        assert_eq!(reads.len(), 2 * residual_blocks);
        assert_eq!(reads.iter().map(|(.., channels)| 2 * channels).sum::<usize>(), rows.len());
        for (norm, first, channels) in reads {
            let [gain, bias, mean, var] = ["gain.bias", "bias.bias", "stored_mean", "stored_var"]
                .map(|leaf| model.tensor(format!("{norm}.{leaf}")));
            let of_gain = product(&model.linear(&format!("{norm}.gain"), s.len()), &s);
            let of_bias = product(&model.linear(&format!("{norm}.bias"), s.len()), &s);
            let y = |x: f64, c: usize| {
                (x - mean[c]) / (var[c] + EPS).sqrt() * (1.0 + of_gain[c] + gain[c]) + (of_bias[c] + bias[c])
            };
            let shift: Vec<f64> = (0..channels).map(|c| y(0.0, c)).collect();
            let scale: Vec<f64> = (0..channels).map(|c| y(1.0, c) - y(0.0, c)).collect();
            // Sums of 512 products with rounded weights, of magnitude 10 in total.
            let bound = Bound::new(1e-6, 1e-6);
            assert_close(&format!("{norm} scale"), &rows[first..first + channels], &scale, bound);
            assert_close(&format!("{norm} shift"), &rows[first + channels..first + 2 * channels], &shift, bound);
        }
    }
}

#[test]
fn layer_scale_folds_into_what_it_scales() {
    let model = Model::of("dinov2_reg4_p14_70x84");
    let mut count = 0;
    for op in model.program.ops() {
        let gamma = match op.layer.rsplit_once('.') {
            Some((attn, "proj")) if attn.ends_with("attn") => attn.replace("attn", "ls1.gamma"),
            Some((mlp, "fc2")) => mlp.replace("mlp", "ls2.gamma"),
            _ => continue,
        };
        count += 1;
        let Kernel::Conv(conv) = &op.kernel else { panic!("{}: {:?}", op.layer, op.kernel) };
        let [depth, out] = [conv.depth(), conv.out_channels];
        let (gamma, loaded) = (model.tensor(gamma), model.loaded(op));
        let [weight, bias] = ["weight", "bias"].map(|leaf| model.tensor(format!("{}.{leaf}", op.layer)));
        let want: Vec<f64> = (0..depth * out).map(|i| weight[i % out * depth + i / out] * gamma[i % out]).collect();
        assert_close(&op.layer, &loaded[0], &want, ROUNDED);
        let want: Vec<f64> = bias.iter().zip(&gamma).map(|(bias, gamma)| bias * gamma).collect();
        assert_close(&op.layer, &loaded[1], &want, ROUNDED);
    }
    assert_eq!(count, 6);
}

#[test]
fn the_prefix_is_the_class_token_with_its_position_and_registers_without() {
    let model = Model::of("dinov2_reg4_p14_70x84");
    let op = model.program.ops().iter().find(|op| op.layer == "tokens").expect("tokens");
    let [class_token, positions, registers] =
        ["cls_token", "pos_embed", "register_tokens"].map(|name| model.tensor(name));
    let first = class_token.iter().zip(&positions).map(|(token, position)| token + position);
    let want: Vec<f64> = first.chain(registers).collect();
    assert_close("prefix", &model.loaded(op)[1], &want, ROUNDED);
}

#[test]
fn positions_of_attention_pooling_are_transposed() {
    let model = Model::of("classifier_attnpool_32");
    let op = model.program.ops().iter().find(|op| op.layer == "out.2.positional_embedding").expect("tokens");
    let positions = model.tensor("out.2.positional_embedding");
    let want: Vec<f64> =
        (0..65).flat_map(|t| (0..64).map(move |c| (t, c))).map(|(t, c)| positions[c * 65 + t]).collect();
    assert_close("positions", &model.loaded(op)[0], &want, ROUNDED);
}

/// A source of given position embeddings, of one or two channels.
struct Given(Vec<f32>);

impl WeightSource for Given {
    fn name(&self) -> &str {
        "given"
    }

    fn tensors(&self) -> Vec<String> {
        vec!["pos_embed".to_string()]
    }

    fn shape(&self, _tensor: &str) -> Option<Shape> {
        Some(Shape::from([1, self.0.len(), 1]))
    }

    fn read(&self, _tensor: &str, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

fn resized(values: Vec<f32>, from: usize, to: [usize; 2], resizing: Resizing) -> Vec<f32> {
    let channels = values.len() / (1 + from * from);
    let recipe = Recipe::Positions(Positions { tensor: "pos_embed".to_string(), from, to, channels, resizing });
    assert_eq!(*recipe.shape(), [to[0] * to[1], channels]);
    recipe.load(&Given(values)).expect("positions")
}

/// The expected values are PyTorch's results for squares: `interpolate(squares, scale_factor=(2.1 / 3, 5.1 /
/// 3), mode="bicubic")`, and `interpolate(squares, size=(2, 5), mode="bicubic", antialias=True)`.
#[test]
fn positions_are_resized_as_by_pytorch() {
    let of_dino = [
        [0.788_794_42, 1.441_237_16, 2.832_950_21, 5.374_429_03, 7.258_873_77],
        [26.250_675_06, 30.623_691_15, 38.144_036_76, 47.144_416_64, 53.071_618_89],
    ];
    let antialiased = [
        [1.850_056_03, 2.850_949_91, 4.924_558_59, 8.207_122_49, 10.150_004_54],
        [26.072_473_42, 30.232_660_93, 38.054_574_64, 47.085_443_57, 52.187_619_25],
    ];
    for (resizing, want) in [(Resizing::Dino, of_dino), (Resizing::Antialias, antialiased)] {
        // The class token's position, which is not part of the grid, and a second channel of opposite sign.
        let squares = (0..9).flat_map(|i| [(i * i) as f32, -((i * i) as f32)]);
        let got = resized([99.0, 99.0].into_iter().chain(squares).collect(), 3, [2, 5], resizing);
        let want: Vec<f64> = want.as_flattened().iter().flat_map(|&x| [x, -x]).collect();
        assert_close(&format!("{resizing:?}"), &got, &want, Bound::F32);
    }
}

#[test]
fn positions_of_their_own_grid_and_equal_ones_stay_as_they_are() {
    let values: Vec<f32> = SplitMix::new(3).floats(1 + 7 * 7);
    for resizing in [Resizing::Dino, Resizing::Antialias] {
        assert_eq!(resized(values.clone(), 7, [7, 7], resizing), values[1..]);
        for to in [[7, 6], [1, 1], [3, 20], [14, 14]] {
            assert_close(
                &format!("{resizing:?} to {to:?}"),
                &resized(vec![0.375; 50], 7, to, resizing),
                &vec![0.375; to[0] * to[1]],
                Bound::F32,
            );
        }
    }
}

/// A checkpoint reports this error earlier, but a recipe itself never reads past a tensor either.
#[test]
fn positions_of_another_number_are_refused() {
    let recipe = |from| {
        let (tensor, resizing) = ("pos_embed".to_string(), Resizing::Dino);
        Recipe::Positions(Positions { tensor, from, to: [2, 2], channels: 1, resizing })
    };
    assert!(recipe(3).load(&Given(vec![0.5; 10])).is_ok());
    for from in [2, 4] {
        match recipe(from).load(&Given(vec![0.5; 10])) {
            Err(percept::Error::Shape(mismatch)) => assert_eq!(mismatch.at, "given: pos_embed"),
            other => panic!("{other:?}"),
        }
    }
}
