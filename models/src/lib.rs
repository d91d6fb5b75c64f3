//! GGUF language models: logits, log-probabilities and LoRA gradients.
