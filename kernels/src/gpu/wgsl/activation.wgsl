// Activations of a gated linear unit and their slopes: 0 is SiLU, 1 the tanh approximation of GELU.

/// Without `exp` of large arguments, which some drivers turn into NaN.
fn bounded_tanh(x: f32) -> f32 {
    return 1.0 - 2.0 / (exp(2.0 * clamp(x, -15.0, 15.0)) + 1.0);
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0)));
}

/// Value and slope.
fn activate(kind: u32, x: f32) -> vec2<f32> {
    if kind == 0u {
        let s = sigmoid(x);
        return vec2<f32>(x * s, s * (1.0 + x * (1.0 - s)));
    }
    let root = 0.7978845608;
    let t = bounded_tanh(root * (x + 0.044715 * x * x * x));
    let slope = root * (1.0 + 0.134145 * x * x);
    return vec2<f32>(0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope);
}
