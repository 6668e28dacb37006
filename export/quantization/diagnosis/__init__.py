"""Diagnosis: where a quantized model loses accuracy, why, and what brings it back."""
