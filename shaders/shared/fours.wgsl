// What an elementwise kernel computes on at once: a channel, or, where values are of half precision (`half`), four of
// them. Then its parameters count channels in fours.

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
