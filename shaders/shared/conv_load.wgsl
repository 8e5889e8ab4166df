// The loads of conv: blocks of the left matrix, and the weights.

override UPSAMPLE: u32;
#if rows
override LOAD_ACTIVATION: u32;
#end

// The number of fours of columns in a panel of the weight.
const PANEL4 = ${PANEL}u / 4u;
// A row so far away that no tap from it reaches the image.
const OUTSIDE = 0x40000000u;

// A term of the sum: the position in the window, and the channel.
struct Term {
    y: u32,
    x: u32,
    c: u32,
}

fn term_at(k: u32) -> Term {
    let tap = k / params.channels;
    return Term(tap / params.kernel_width, tap % params.kernel_width, k % params.channels);
}

// Returns the term that is `count` terms later, without a division in the loop that calls it.
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

// The origins of the windows of 4 pixels in the enlarged sources. Positions above or left of the sources wrap around.
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

// The source pixels that a tap of 4 windows reads.
struct Taps {
    // 0 if the tap is outside: pixel 0 can be loaded, and its value is not used.
    pixel: vec4<u32>,
    inside: vec4<bool>,
}

fn taps_of(sample: u32, pixels: Pixels, term: Term) -> Taps {
    let y = pixels.y + term.y;
    let x = pixels.x + term.x;
    // Beyond the last term, the tap is below the window.
    let inside = (y < vec4(params.height * UPSAMPLE)) & (x < vec4(params.width * UPSAMPLE))
        & vec4(term.y < params.kernel_height);
    let pixel = (sample * params.height + y / UPSAMPLE) * params.width + x / UPSAMPLE;
    return Taps(select(vec4(0u), pixel, inside), inside);
}

#if narrow_in
// 4 terms of 4 pixels, with a column for each term.
alias Block = mat4x4<f32>;

// Each term is its own tap.
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
// 4 terms of 4 pixels as they are stored in memory, with a column for each pixel, and the operations to apply.
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

// All 4 terms are channels of one tap. This function only loads; terms_of does the work that waits for the loads.
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

// Returns a column for each term. The padding is zero after the activation.
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

// Returns the start of the weights of 4 columns. Columns beyond the end use those of the first; their sums are not
// stored.
fn weights_of(column4: u32) -> u32 {
    let column = select(0u, column4, params.first_column + 4u * column4 < params.end_column);
    return column / PANEL4 * params.depth * PANEL4 + column % PANEL4;
}

// Terms beyond the last, whose left factors are zero, use the last one's weights.
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
