"""Making training text: masking and n-gram sampling for the BiLSTM, word replacement for TinyBERT."""
