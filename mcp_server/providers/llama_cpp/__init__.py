"""Models that run on this machine, from GGUF files: llama.cpp in one process for each that is loaded."""
