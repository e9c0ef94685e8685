"""Triton: NVIDIA's inference server, as this project writes its repository, starts and asks it."""
