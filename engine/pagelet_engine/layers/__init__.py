"""What models are made of. Layers own their parameters and choose ops; they refuse to know which model they are in."""
