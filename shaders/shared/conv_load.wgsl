// Loads of conv: blocks of the left matrix, and the weights.

override UPSAMPLE: u32;
#if rows
override LOAD_ACTIVATION: u32;
#end

// Fours of columns of a panel of the weight.
const PANEL4 = ${PANEL}u / 4u;
// A row so far away that no tap reaches the image from it.
const OUTSIDE = 0x40000000u;

// A term of the sum: where in the window, and which channel.
struct Term {
    y: u32,
    x: u32,
    c: u32,
}

fn term_at(k: u32) -> Term {
    let tap = k / params.channels;
    return Term(tap / params.kernel_width, tap % params.kernel_width, k % params.channels);
}

// The term so many further on, without a division in the loop that asks for it.
fn advance(term: Term, count: u32) -> Term {
    var next = term;
    next.c += count;
    while next.c >= params.channels {
        next.c -= params.channels;
        next.x += 1u;
        if next.x == params.kernel_width {
            next.x = 0u;
            next.y += 1u;
        }
    }
    return next;
}

// Where, in the enlarged sources, the windows of 4 pixels begin; above and left of them wraps around.
struct Pixels {
    y: vec4<u32>,
    x: vec4<u32>,
}

fn pixels_at(first: u32) -> Pixels {
    let pixel = first + vec4(0u, 1u, 2u, 3u);
    let y = pixel / params.out_width * params.stride - params.padding_top;
    let x = pixel % params.out_width * params.stride - params.padding_left;
    return Pixels(select(vec4(OUTSIDE), y, pixel < vec4(params.pixels)), x);
}

// The pixels of the sources that a tap of the windows lies on.
struct Taps {
    // 0 where it lies outside: what is loaded is there, and not used.
    pixel: vec4<u32>,
    inside: vec4<bool>,
}

fn taps_of(sample: u32, pixels: Pixels, term: Term) -> Taps {
    let y = pixels.y + term.y;
    let x = pixels.x + term.x;
    // Behind the last term, the tap is below the window.
    let inside = (y < vec4(params.height * UPSAMPLE)) & (x < vec4(params.width * UPSAMPLE))
        & vec4(term.y < params.kernel_height);
    let pixel = (sample * params.height + y / UPSAMPLE) * params.width + x / UPSAMPLE;
    return Taps(select(vec4(0u), pixel, inside), inside);
}

#if narrow_in
// 4 terms of 4 pixels, a column for each term.
alias Block = mat4x4<f32>;

// Each term is a tap of its own.
fn load(sample: u32, pixels: Pixels, first: Term) -> Block {
    var terms: Block;
    var term = first;
#for k in 0..4
    {
        let taps = taps_of(sample, pixels, term);
        var value: vec4<f32>;
#if second
        if term.c >= params.first {
            let at = taps.pixel * (params.channels - params.first) + term.c - params.first;
            value = vec4(second[at.x], second[at.y], second[at.z], second[at.w]);
        } else {
            let at = taps.pixel * params.first + term.c;
            value = vec4(source[at.x], source[at.y], source[at.z], source[at.w]);
        }
#else
        let at = taps.pixel * params.channels + term.c;
        value = vec4(source[at.x], source[at.y], source[at.z], source[at.w]);
#end
#if rows
        let row = sample * params.rows_length + params.rows_offset + term.c;
        value = activate4(LOAD_ACTIVATION, value * rows[row] + rows[row + params.channels]);
#end
        terms[$k] = select(vec4(0.0), value, taps.inside);
        term = advance(term, 1u);
    }
#end
    return terms;
}

fn terms_of(block: Block) -> mat4x4<f32> {
    return block;
}
#else
// 4 terms of 4 pixels as they lie in memory, a column for each pixel, and what is to be done to them.
struct Block {
#for j in 0..4
    value_$j: In,
#end
    inside: vec4<bool>,
#if rows
    scale: vec4<f32>,
    shift: vec4<f32>,
#end
}

fn in4(four: In) -> vec4<f32> {
#if half
    return widen(four);
#else
    return four;
#end
}

// All 4 terms are channels of one tap. Only loads: whatever waits for them is left to terms_of.
fn load(sample: u32, pixels: Pixels, term: Term) -> Block {
    var block: Block;
    let taps = taps_of(sample, pixels, term);
#if second
    if term.c >= params.first {
        let at = (taps.pixel * (params.channels - params.first) + term.c - params.first) / 4u;
#for j in 0..4
        block.value_$j = second[at[$j]];
#end
    } else {
        let at = (taps.pixel * params.first + term.c) / 4u;
#for j in 0..4
        block.value_$j = source[at[$j]];
#end
    }
#else
    let at = (taps.pixel * params.channels + term.c) / 4u;
#for j in 0..4
    block.value_$j = source[at[$j]];
#end
#end
    block.inside = taps.inside;
#if rows
    let row = sample * params.rows_length + params.rows_offset + term.c;
    block.scale = rows[row / 4u];
    block.shift = rows[(row + params.channels) / 4u];
#end
    return block;
}

// A column for each term. The padding is zero after the activation.
fn terms_of(block: Block) -> mat4x4<f32> {
#for j in 0..4
#if rows
    let value_$j = activate4(LOAD_ACTIVATION, in4(block.value_$j) * block.scale + block.shift);
#else
    let value_$j = in4(block.value_$j);
#end
    let pixel_$j = select(vec4(0.0), value_$j, block.inside[$j]);
#end
    return transpose(mat4x4(pixel_0, pixel_1, pixel_2, pixel_3));
}
#end

// Where the weights of 4 columns begin; behind the last columns those of the first, for sums that are not stored.
fn weights_of(column4: u32) -> u32 {
    let column = select(0u, column4, params.first_column + 4u * column4 < params.end_column);
    return column / PANEL4 * params.depth * PANEL4 + column % PANEL4;
}

// Behind the last term, whose left factors are zero, the last one's.
fn load_weight(weights: u32, term: u32) -> Weight {
    return weight[weights + min(term, params.depth - 1u) * PANEL4];
}

fn weight4(four: Weight) -> vec4<f32> {
#if half
    return widen(four);
#else
    return four;
#end
}
