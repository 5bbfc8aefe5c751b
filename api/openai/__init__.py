"""OpenAI's routes, for clients that were written for OpenAI: the same jobs in other words."""
