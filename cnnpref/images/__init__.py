"""Images in files: found, told apart by their content, and read. No PyTorch."""
