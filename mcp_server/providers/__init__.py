"""Where answers come from: one file or folder for each kind of model provider."""
