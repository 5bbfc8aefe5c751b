"""Text Generation Inference's routes, for clients that were written for it: the same jobs."""
