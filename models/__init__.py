"""The model: encoders, fusion, head, and the checkpoint that carries them; pure PyTorch."""
