// The unit of an elementwise kernel: one channel, or four if values are in half precision (`half`). With `half`, the
// parameters count channels in fours.

#if half
#import half.wgsl
alias Value = vec4<f32>;
alias Stored = Half4;

fn load(stored: Stored) -> Value {
    return widen(stored);
}

fn stored(value: Value) -> Stored {
    return narrow(value);
}
#else
alias Value = f32;
alias Stored = f32;

fn load(stored: Stored) -> Value {
    return stored;
}

fn stored(value: Value) -> Stored {
    return value;
}
#end
