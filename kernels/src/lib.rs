//! Programs of tensor ops on quantized weights, and the devices that run them.
