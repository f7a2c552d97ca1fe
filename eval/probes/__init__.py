"""Probes: questions to a trained model beyond its scores, one file each; `registry` lists them."""
