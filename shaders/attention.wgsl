// attention: y[n, t, head] = sum_u softmax_u((q[n, t, head] d^-1/4) . (k[n, u, head] d^-1/4)) v[n, u, head],
// where d is the number of channels of a head.
//
// A workgroup computes 32 queries of one head, for BLOCK of the head's channels, and loops over the keys in tiles
// of 64. Only one tile of scores exists at a time: the softmax is computed online (Milakov and Gimelshein 2018,
// https://arxiv.org/abs/1805.02867). If a tile contains a larger score, the sums so far are rescaled to it. A head
// with more channels than BLOCK is split over workgroups, and each of them recomputes the scores, because
// workgroups share no memory. BLOCK is as large as the registers allow.
//
// An invocation holds the scores of 4 queries and KEYS keys, and sums of the same queries for COLUMNS quads of
// channels. Sums run over the keys in order, whatever the block, so a result does not depend on other samples,
// heads or blocks.

struct Params {
    grid_width: u32,
    workgroups: u32,
    // The number of queries, and of keys: the pixels of a sample.
    tokens: u32,
    heads: u32,
    head_channels: u32,
    // The number of workgroups that the queries and the channels of a head are split over.
    query_blocks: u32,
    channel_blocks: u32,
    // The distances from one pixel of qkv to the next, from one head to the next, and from queries to keys to values.
    pixel_stride: u32,
    head_stride: u32,
    part_stride: u32,
    // d^-1/4 for both. The query scale also contains log2 e, so that the weights are powers of 2.
    query_scale: f32,
    key_scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#if narrow
@group(0) @binding(1) var<storage, read> qkv: array<f32>; // [n, h, w, 3 * heads * head_channels]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [n, h, w, heads * head_channels]
#else
#if half
alias Stored = Half4;
#else
alias Stored = vec4<f32>;
#end
@group(0) @binding(1) var<storage, read> qkv: array<Stored>; // [n, h, w, 3 * heads * head_channels / 4]
@group(0) @binding(2) var<storage, read_write> output: array<Stored>; // [n, h, w, heads * head_channels / 4]
#end

#import grid.wgsl
#if half
#import half.wgsl
#end

// Invocations form WIDTH columns. A column computes the keys column + WIDTH * i and the quads of channels
// column + WIDTH * i.
const QUERIES = ${QUERIES}u;
const KEY_TILE = ${KEY_TILE}u;
const WIDTH = KEY_TILE / ${KEYS}u;
const THREADS = 8u * WIDTH;
const BLOCK = 4u * WIDTH * ${COLUMNS}u;

// A chunk of 16 channels of queries and keys. The four quads of a key's channels are permuted from one pair of keys
// to the next, so that eight invocations read eight different banks.
var<workgroup> queries: array<vec4<f32>, 128>; // [16 channels, 8 quads of queries]
var<workgroup> keys: array<vec4<f32>, 256>; // [64 keys, 4 quads of channels]
var<workgroup> weights: array<vec4<f32>, 512>; // [8 quads of queries, 64 keys]
// Each column's largest scores of its queries, and later its sums of their weights.
var<workgroup> found: array<vec4<f32>, 8u * WIDTH>; // [8 quads of queries, WIDTH]

#if !narrow
fn load(at4: u32) -> vec4<f32> {
#if half
    return widen(qkv[at4]);
#else
    return qkv[at4];
#end
}
#end

// Returns channels c to c + 3 of the head that begins at element `at`; channels beyond the head's end are zero.
fn channels(at: u32, c: u32) -> vec4<f32> {
    var quad = vec4<f32>(0.0);
#if narrow
    #for i in 0..4
    if c + ${i}u < params.head_channels {
        quad[$i] = qkv[at + c + ${i}u];
    }
    #end
#else
    if c < params.head_channels {
        quad = load((at + c) / 4u);
    }
#end
    return quad;
}

// Writes channels c to c + 3 of the head that begins at element `at`, except those beyond the head's end.
fn store(at: u32, c: u32, quad: vec4<f32>) {
#if narrow
    #for i in 0..4
    if c + ${i}u < params.head_channels {
        output[at + c + ${i}u] = quad[$i];
    }
    #end
#else
    if c < params.head_channels {
#if half
        output[(at + c) / 4u] = narrow(quad);
#else
        output[(at + c) / 4u] = quad;
#end
    }
#end
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_index(workgroup);
    if index >= params.workgroups {
        return;
    }
    let first_query = index % params.query_blocks * QUERIES;
    let first_channel = index / params.query_blocks % params.channel_blocks * BLOCK;
    let sample_head = index / params.query_blocks / params.channel_blocks;
    let sample = sample_head / params.heads;
    let head = sample_head % params.heads;

    let last = params.tokens - 1u;
    let query_start = sample * params.tokens * params.pixel_stride + head * params.head_stride;
    let key_start = query_start + params.part_stride;
    let value_start = key_start + params.part_stride;

    let row = local / WIDTH;
    let column = local % WIDTH;
    let swizzle = column / 2u % 4u;
    #for h in 0..$COLUMNS
    let channel_$h = first_channel + 4u * (column + ${h}u * WIDTH);
    #if !narrow
    // Quads beyond the end sum existing channels, and are not written.
    let value_$h = (value_start + min(channel_$h, params.head_channels - 4u)) / 4u;
    #end
    #end

    var largest = vec4<f32>(0.0);
    var total = vec4<f32>(0.0);
    #for e in 0..4
    #for h in 0..$COLUMNS
    var sum_${e}_$h = vec4<f32>(0.0);
    #end
    #end

    for (var tile = 0u; tile < params.tokens; tile += KEY_TILE) {
        #for i in 0..$KEYS
        var score_$i = vec4<f32>(0.0);
        #end
        for (var chunk = 0u; chunk < params.head_channels; chunk += 16u) {
            workgroupBarrier();
            // Tokens beyond the last repeat it, which does not change the largest score.
            for (var i = local; i < 32u; i += THREADS) {
                let query = first_query + i / 4u * 4u;
                let c = chunk + i % 4u * 4u;
                #for e in 0..4
                let query_$e = min(query + ${e}u, last) * params.pixel_stride + query_start;
                let quad_$e = channels(query_$e, c) * params.query_scale;
                #end
                let to = i % 4u * 32u + i / 4u;
                #for e in 0..4
                queries[to + ${e}u * 8u] = vec4<f32>(quad_0[$e], quad_1[$e], quad_2[$e], quad_3[$e]);
                #end
            }
            for (var i = local; i < 256u; i += THREADS) {
                let key = min(tile + i / 4u, last) * params.pixel_stride + key_start;
                let quad = channels(key, chunk + i % 4u * 4u) * params.key_scale;
                keys[i ^ (i / 8u % 4u)] = quad;
            }
            workgroupBarrier();
            for (var c = 0u; c < 4u; c++) {
                #for i in 0..$KEYS
                let key_$i = keys[(column + ${i}u * WIDTH) * 4u + (c ^ swizzle)];
                #end
                #for e in 0..4
                let query_$e = queries[(4u * c + ${e}u) * 8u + row];
                #for i in 0..$KEYS
                score_$i += query_$e * key_$i[$e];
                #end
                #end
            }
        }

        var above = score_0;
        #for i in 0..$KEYS
        above = max(above, score_$i);
        #end
        found[row * WIDTH + column] = above;
        workgroupBarrier();
        for (var i = 0u; i < WIDTH; i++) {
            above = max(above, found[row * WIDTH + i]);
        }
        if tile == 0u {
            largest = above;
        }
        above = max(above, largest);
        let shrink = exp2(largest - above);
        largest = above;
        total *= shrink;
        #for e in 0..4
        #for h in 0..$COLUMNS
        sum_${e}_$h *= shrink[$e];
        #end
        #end
        #for i in 0..$KEYS
        {
            let key = column + ${i}u * WIDTH;
            let weight = select(vec4<f32>(0.0), exp2(score_$i - above), tile + key <= last);
            total += weight;
            weights[row * KEY_TILE + key] = weight;
        }
        #end
        workgroupBarrier();

        for (var key = 0u; key < min(KEY_TILE, params.tokens - tile); key += 4u) {
            #for u in 0..4
            let token_$u = min(tile + key + ${u}u, last) * params.pixel_stride;
            #for h in 0..$COLUMNS
            #if narrow
            let quad_${u}_$h = channels(value_start + token_$u, channel_$h);
            #else
            let quad_${u}_$h = load(value_$h + token_$u / 4u);
            #end
            #end
            let weight_${u} = weights[row * KEY_TILE + key + ${u}u];
            #for e in 0..4
            #for h in 0..$COLUMNS
            sum_${e}_$h += weight_${u}[$e] * quad_${u}_$h;
            #end
            #end
            #end
        }
    }

    found[row * WIDTH + column] = total;
    total = vec4<f32>(0.0);
    workgroupBarrier();
    for (var i = 0u; i < WIDTH; i++) {
        total += found[row * WIDTH + i];
    }
    #for e in 0..4
    {
        let query = first_query + row * 4u + ${e}u;
        if query <= last {
            let at = (sample * params.tokens + query) * params.heads + head;
            #for h in 0..$COLUMNS
            store(at * params.head_channels, channel_$h, sum_${e}_$h / total[$e]);
            #end
        }
    }
    #end
}
