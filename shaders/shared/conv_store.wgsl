// The store of conv: the values that are added to a sum, and the activation.

override STORE_ACTIVATION: u32;

#if narrow_out
// Returns 4 columns, where the last one replaces those beyond it.
fn columns_at(column: u32) -> vec4<u32> {
    return min(column + vec4(0u, 1u, 2u, 3u), vec4(params.out_channels - 1u));
}
#end

// Returns the sum of the bias and the sample's added row for 4 columns.
fn added(sample: u32, column: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    let row = sample * params.add_length + params.add_offset;
#if narrow_out
    let at = columns_at(column);
    if params.bias != 0u {
        sum += vec4(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    if params.add != 0u {
        sum += vec4(add[row + at.x], add[row + at.y], add[row + at.z], add[row + at.w]);
    }
#else
    let at = min(column, params.out_channels - 4u);
    if params.bias != 0u {
        sum += bias[at / 4u];
    }
    if params.add != 0u {
        sum += add[(row + at) / 4u];
    }
#end
    return sum;
}

// Returns the row of the residual, enlarged by nearest neighbour, that is added to a pixel.
fn residual_row_of(sample: u32, pixel: u32) -> u32 {
    let times = max(params.residual, 1u);
    let y = pixel / params.out_width / times;
    let x = pixel % params.out_width / times;
    return sample * (params.pixels / (times * times)) + y * (params.out_width / times) + x;
}

#if !narrow_out
fn out4(four: Out) -> vec4<f32> {
#if half
#if sums
    return four;
#else
    return widen(four);
#end
#else
    return four;
#end
}

fn as_out(four: vec4<f32>) -> Out {
#if half
#if sums
    return four;
#else
    return narrow(four);
#end
#else
    return four;
#end
}
#end

// Stores 4 columns of a row, and returns the stored values before rounding.
fn store(row: u32, residual_row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    var value = sum;
#if residual
    if params.residual != 0u {
#if narrow_out
        let at = residual_row * params.out_channels + columns_at(column);
        value += vec4(residual[at.x], residual[at.y], residual[at.z], residual[at.w]);
#else
        value += out4(residual[(residual_row * params.out_channels + column) / 4u]);
#end
    }
#end
    value = activate4(STORE_ACTIVATION, value);
#if narrow_out
#for j in 0..4
    if column + ${j}u < params.out_channels {
        output[row * params.out_channels + column + ${j}u] = value[$j];
    }
#end
#else
    output[(row * params.out_channels + column) / 4u] = as_out(value);
#end
    return value;
}
