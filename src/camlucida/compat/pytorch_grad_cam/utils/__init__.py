"""The helpers of pytorch-grad-cam 1.5.7, a module each under its own name there."""
