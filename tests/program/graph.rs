//! Tests the shapes that a graph refuses. Every error names the layer, the buffer, the expected shape and the
//! given one.

use percept::kernels::{
    Activation, Advance, Attention, AvgPool, Concat, Conv, Dense, Embedding, FilmAffine, GroupAffine, Index, Kernel,
    Load, MaxPool, Noise, NotFinite, QkvOrder, RowSlice, Stream,
};
use percept::program::{Graph, ValueId};
use percept::weights::Recipe;
use percept::{Error, Result};

/// Returns the place, the expected and the given shape of a shape error.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> [String; 3] {
    match result {
        Err(Error::Shape(mismatch)) => [mismatch.at, mismatch.expected, mismatch.got],
        other => panic!("not a shape's error: {other:?}"),
    }
}

fn conv() -> Conv {
    Conv { bias: true, ..Conv::new([1, 8, 8, 4], 6, 3) }
}

/// Returns a graph with an image, the weights of [`conv`] and the state of a sampler.
fn graph() -> (Graph, ValueId, ValueId, ValueId, ValueId) {
    let mut g = Graph::new();
    let image = g.input("image", [1, 8, 8, 4]);
    let weight = g.weight(Recipe::matrix("conv.weight".to_string(), 36, 6));
    let bias = g.weight(Recipe::vector("conv.bias".to_string(), 6));
    let state = g.input_u32("state", [4]);
    (g, image, weight, bias, state)
}

#[test]
fn buffers_that_do_not_fit_are_named() {
    let (mut g, image, weight, bias, state) = graph();
    assert!(g.op("conv", conv(), &[image, weight, bias]).is_ok());
    let small = g.input("small", [1, 8, 8, 3]);
    let cases: [(Kernel, &[ValueId], [&str; 3]); 7] = [
        (
            conv().into(),
            &[small, weight, bias],
            ["layer (conv) source", "F32 [1, 8, 8, 4]", "F32 [1, 8, 8, 3] from small"],
        ),
        (conv().into(), &[image, bias, weight], ["layer (conv) weight", "F32 [36, 6]", "F32 [6] from conv.bias"]),
        (conv().into(), &[image, weight, weight], ["layer (conv) bias", "F32 [6]", "F32 [36, 6] from conv.weight"]),
        (Advance {}.into(), &[image], ["layer (advance) state", "U32 [4]", "F32 [1, 8, 8, 4] from image"]),
        (
            Dense {
                rows: 1,
                in_features: 4,
                out_features: 4,
                bias: false,
                residual: false,
                activation: Activation::Relu,
            }
            .into(),
            &[state, weight],
            ["layer (dense) source", "F32 [1, 4]", "U32 [4] from state"],
        ),
        (conv().into(), &[image, weight], ["layer (conv)", "3 values to read, at most 8 buffers in all", "2"]),
        (
            conv().into(),
            &[image, weight, bias, bias],
            ["layer (conv)", "3 values to read, at most 8 buffers in all", "4"],
        ),
    ];
    for (kernel, reads, want) in cases {
        assert_eq!(refused(g.op("layer", kernel, reads)), want);
    }
}

/// Nine buffers are one more than every device is guaranteed to support.
#[test]
fn nine_buffers_are_refused() {
    let (mut g, image, weight, bias, _) = graph();
    let second = g.input("second", [1, 8, 8, 4]);
    let wide = g.weight(Recipe::matrix("wide.weight".to_string(), 72, 6));
    let (rows, add, residual) = (g.input("rows", [1, 16]), g.input("add", [1, 6]), g.input("residual", [1, 8, 8, 6]));
    let load = Load::Affine { rows: RowSlice { row_length: 16, offset: 0 }, activation: Activation::Silu };
    let eight = Conv {
        in_channels: [4, 4],
        load,
        add: Some(RowSlice { row_length: 6, offset: 0 }),
        residual: Some(1),
        ..conv()
    };
    let reads = [image, second, rows, wide, bias, add, residual];
    assert_eq!(g.op("layer", eight.clone(), &reads).map(|written| written.len()), Ok(1));
    let told = refused(g.op("layer", Conv { stats: Some(64), ..eight }, &reads));
    assert_eq!(told[..2], ["layer (conv)", "7 values to read, at most 8 buffers in all"]);
    let written = g.op("layer", Conv { stats: Some(64), ..conv() }, &[image, weight, bias]).expect("five buffers");
    assert_eq!(
        written.iter().map(|id| g.shape(*id).to_vec()).collect::<Vec<_>>(),
        [vec![1, 8, 8, 6], vec![1, 1, 2, 6]]
    );
}

#[test]
fn dimensions_of_one_do_not_count() {
    let mut g = Graph::new();
    let pooled = g.input("pooled", [2, 1, 1, 5]);
    let weight = g.weight(Recipe::matrix("fc.weight".to_string(), 5, 3));
    let activation = Activation::Identity;
    let dense = Dense { rows: 2, in_features: 5, out_features: 3, bias: false, residual: false, activation };
    let logits = g.op1("fc", dense.clone(), &[pooled, weight]).expect("an op");
    assert_eq!(*g.shape(logits), [2, 3]);
    // The order of the dimensions matters.
    let turned = g.input("turned", [5, 1, 1, 2]);
    assert_eq!(refused(g.op("fc", dense, &[turned, weight]))[0], "fc (dense) source");
}

#[test]
fn impossible_parameters_name_the_layer() {
    let mut g = Graph::new();
    let image = [1, 8, 8, 4];
    let rows = |row_length: usize, offset: usize| RowSlice { row_length, offset };
    let affine = |rows: RowSlice| Load::Affine { rows, activation: Activation::Silu };
    let norm = GroupAffine { batch: 1, pixels: 64, tile: 64, channels: [4, 0], groups: 2, eps: 1e-5, film: None };
    let mean = AvgPool { batch: 1, height: 8, width: 8, channels: 4, kernel: [2, 2], load: Load::Plain };
    let max = MaxPool { batch: 1, height: 8, width: 8, channels: 4, kernel: [3, 3], stride: 2, padding: 1 };
    let attention = Attention { batch: 1, height: 8, width: 8, heads: 2, head_channels: 2, order: QkvOrder::QkvFirst };
    let cases: Vec<(Kernel, &str)> = vec![
        (Conv { batch: 0, ..conv() }.into(), "4 channels"),
        (Conv { stride: 0, ..conv() }.into(), "a window of [3, 3] that fits"),
        (Conv { kernel: [11, 3], ..conv() }.into(), "8x8 pixels, padding 1"),
        (Conv { out_channels: 0, ..Conv::new(image, 6, 3) }.into(), "fits into the padded image"),
        (Conv { residual: Some(2), height: 7, ..conv() }.into(), "a size that a residual enlarged 2 times fills"),
        (Conv { residual: Some(0), ..conv() }.into(), "enlarged 0 times"),
        (Conv { load: affine(rows(8, 1)), ..conv() }.into(), "8 elements of a row of 8"),
        (Conv { add: Some(rows(9, 4)), ..conv() }.into(), "those from 4 on"),
        (Conv { stats: Some(0), ..conv() }.into(), "tile: 0"),
        (GroupAffine { groups: 3, ..norm.clone() }.into(), "channels in 3 equal groups"),
        (GroupAffine { groups: 0, ..norm.clone() }.into(), "groups: 0"),
        (GroupAffine { film: Some(rows(8, 3)), ..norm }.into(), "those from 3 on"),
        (AvgPool { kernel: [9, 1], ..mean.clone() }.into(), "a window of [9, 1] that fits"),
        (AvgPool { load: affine(rows(7, 0)), ..mean }.into(), "8 elements of a row of 7"),
        (MaxPool { padding: 2, ..max.clone() }.into(), "padded by at most half a window"),
        (MaxPool { kernel: [3, 12], ..max }.into(), "kernel: [3, 12]"),
        (Attention { heads: 0, ..attention }.into(), "heads: 0"),
        (FilmAffine { batch: 1, channels: 4, rows: rows(8, 0), film: rows(8, 1) }.into(), "those from 1 on"),
        (Embedding { table_rows: 0, channels: 4, batch: 1, index: Index::Step }.into(), "a table of 0x4"),
        (Noise { batch: 1, sample: [8, 0, 3], stream: Stream::Start }.into(), "[8, 0, 3]"),
        (NotFinite { batch: 1, height: 8, width: 0, channels: 3 }.into(), "width: 0"),
    ];
    for (kernel, words) in cases {
        let told = refused(g.op("middle_block.0", kernel, &[]));
        assert_eq!(told[0], "middle_block.0", "{told:?}");
        assert!(told[1..].join(", got ").contains(words), "{told:?} does not say {words:?}");
    }
}

#[test]
fn what_is_no_image_has_no_image_shape() {
    let mut g = Graph::new();
    let (image, row) = (g.input("image", [2, 3, 4, 5]), g.input("row", [2, 5]));
    assert_eq!(g.image_shape(image), Ok([2, 3, 4, 5]));
    assert_eq!(refused(g.image_shape(row)), ["row", "[n, h, w, c]", "[2, 5]"]);
}

/// Kernels index in 32 bits. `Shape::new` refuses larger shapes, and a graph must do so too, because it
/// combines dimensions that are each in range.
#[test]
fn values_that_no_kernel_can_index_are_refused() {
    let program = |batch, size| {
        let mut g = Graph::new();
        let state = g.input_u32("state", [4]);
        let noise = g.op1("x_T", Noise { batch, sample: [size, size, 3], stream: Stream::Start }, &[state])?;
        g.output("x_T", noise);
        g.finish()
    };
    assert!(program(1, 32_768).is_ok());
    for (batch, size) in [(2, 32_768), (1, 65_536), (1 << 30, 64)] {
        assert!(matches!(program(batch, size), Err(Error::Shape(_))), "{batch} samples of {size} x {size}");
    }
}

#[test]
fn carries_that_do_not_fit_are_refused() {
    let (mut g, image, weight, _, state) = graph();
    let next_state = g.op1("advance", Advance {}, &[state]).expect("an op");
    let noise = |g: &mut Graph, sample| {
        g.op1("noise", Noise { batch: 1, sample, stream: Stream::Step }, &[state]).expect("an op")
    };
    let (fits, small) = (noise(&mut g, [8, 8, 4]), noise(&mut g, [8, 8, 3]));
    let other = g.input("other", [1, 8, 8, 4]);
    let of_image = "an op's result of F32 [1, 8, 8, 4] for an input";
    let cases = [
        ("shape", image, small, None, ["image", of_image, "F32 [1, 8, 8, 3]"]),
        ("type", state, fits, None, ["state", "an op's result of U32 [4] for an input", "F32 [1, 8, 8, 4]"]),
        ("start's shape", image, fits, Some(small), ["image", of_image, "F32 [1, 8, 8, 3]"]),
        ("next an input", image, other, None, ["image", of_image, "F32 [1, 8, 8, 4]"]),
        ("start an input", image, fits, Some(other), ["image", of_image, "F32 [1, 8, 8, 4]"]),
        ("held no input", fits, fits, None, ["noise", of_image, "F32 [1, 8, 8, 4]"]),
        ("next a weight", image, weight, None, ["image", of_image, "F32 [36, 6]"]),
    ];
    for (case, held, next, start, want) in cases {
        assert_eq!(refused(g.carry(held, next, start)), want, "{case}");
    }
    assert_eq!(g.carry(image, fits, None), Ok(()));
    assert_eq!(g.carry(state, next_state, None), Ok(()));
}

/// A value can have only one next value, because executors swap the buffers of carries.
#[test]
fn a_value_is_carried_once() {
    // Two inputs and two results; the second carry may name the input or the result of the first.
    let program = |held: usize, next: usize| -> Result<()> {
        let mut g = Graph::new();
        let inputs = ["a", "b"].map(|name| g.input_u32(name, [4]));
        let [first, second] = inputs.map(|id| g.op1("advance", Advance {}, &[id]).expect("an op"));
        g.carry(inputs[0], first, None).expect("a carry");
        g.carry(inputs[held], [first, second][next], None)?;
        g.output("first", first);
        g.output("second", second);
        g.finish().map(|_| ())
    };
    assert_eq!(program(1, 1), Ok(()));
    assert!(program(1, 0).is_err(), "one result for two inputs");
    assert!(program(0, 1).is_err(), "two results for one input");
}

#[test]
fn a_program_has_outputs_each_of_its_own_name() {
    let finish = |names: &[&str]| {
        let (mut g, image, weight, bias, _) = graph();
        let y = g.op1("conv", conv(), &[image, weight, bias]).expect("an op");
        names.iter().for_each(|name| g.output(name, y));
        g.finish()
    };
    for (names, got) in [(&[][..], "none"), (&["y", "z", "y"], "two called y")] {
        match finish(names) {
            Err(Error::Config(mismatch)) => {
                assert_eq!((mismatch.at.as_str(), mismatch.got.as_str()), ("outputs of a program", got));
                assert_eq!(mismatch.expected, "one or more, each of its own name");
            }
            other => panic!("{other:?}"),
        }
    }
    let program = finish(&["y", "z"]).expect("a program");
    assert_eq!(program.output("y"), program.output("z"));
    // Values that no output needs are left out.
    assert_eq!((program.ops().len(), program.values().len()), (1, 4));
}

/// The host finds inputs by name. Of two inputs with the same name it could write only the first.
#[test]
fn inputs_have_each_their_own_name() {
    let mut g = Graph::new();
    let states = [0, 1].map(|_| g.input_u32("state", [4]));
    for (index, state) in states.into_iter().enumerate() {
        let next = g.op1("advance", Advance {}, &[state]).expect("an op");
        g.output(&index.to_string(), next);
    }
    assert!(matches!(g.finish(), Err(Error::Config(_))));
}

#[test]
fn bytes_moved_are_those_of_each_value_once_per_op() {
    let (mut g, image, weight, bias, state) = graph();
    let written = g.op1("conv", conv(), &[image, weight, bias]).expect("an op");
    // The same value twice.
    let twice = Concat { batch: 1, height: 8, width: 8, channels: [6, 6] };
    let written = g.op1("concat", twice, &[written, written]).expect("an op");
    let next = g.op1("advance", Advance {}, &[state]).expect("an op");
    g.output("written", written);
    g.output("next", next);
    let program = g.finish().expect("a program");
    let of_conv = 4 * (8 * 8 * 4 + 36 * 6 + 6 + 8 * 8 * 6);
    let of_concat = 4 * (8 * 8 * 6 + 8 * 8 * 12);
    assert_eq!([0, 1, 2].map(|op| program.bytes_moved(op..op + 1)), [of_conv, of_concat, 4 * (4 + 4)]);
    assert_eq!(program.bytes_moved(program.body()), of_conv + of_concat + 32);
    assert_eq!(program.bytes_moved(0..0), 0);
}
