// Four values of half precision in storage: as a vector (`f16`), or in two words, which every device can unpack.

#if f16
alias Half4 = vec4<f16>;

fn widen(four: Half4) -> vec4<f32> {
    return vec4<f32>(four);
}

fn narrow(four: vec4<f32>) -> Half4 {
    return vec4<f16>(or_infinite(four));
}
#else
alias Half4 = vec2<u32>;

fn widen(four: Half4) -> vec4<f32> {
    return vec4(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn narrow(four: vec4<f32>) -> Half4 {
    let known = or_infinite(four);
    return vec2(pack2x16float(known.xy), pack2x16float(known.zw));
}
#end

// Replaces values that round beyond 65504, the largest number of half precision, with infinity. WGSL leaves their
// conversion undefined, and clamping to the largest number would hide the overflow.
fn or_infinite(four: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(four);
    let is_too_large = (bits & vec4(0x7fffffffu)) >= vec4(bitcast<u32>(65520.0));
    return bitcast<vec4<f32>>(select(bits, bits | vec4(0x7f800000u), is_too_large));
}
