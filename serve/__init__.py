"""The local page: ask a trained model from a browser."""
