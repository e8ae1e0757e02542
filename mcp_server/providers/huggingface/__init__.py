"""Models in the Hugging Face format that run on this machine: transformers in one process for each that is loaded."""
