// The image without noise, from x_t and the network's prediction.

#import finite.wgsl

// 1 if the network predicts the image itself, 0 if it predicts the noise in x_t.
override PREDICT_START: u32;
// 1 if the image is clipped to -1..1.
override CLIP: u32;

fn predicted_x_0(sqrt_recip: f32, sqrt_recipm1: f32, noisy: f32, predicted: f32) -> f32 {
    var clean = predicted;
    if PREDICT_START == 0u {
        clean = sqrt_recip * noisy - sqrt_recipm1 * predicted;
    }
    if CLIP == 0u {
        return clean;
    }
    // NaN stays NaN, and an infinity becomes NaN: if clipped, it would look like a valid pixel.
    let bits = bitcast<u32>(clean);
    return select(bitcast<f32>(bits | 0x7fc00000u), clamp(clean, -1.0, 1.0), is_finite(bits));
}
