"""distilq: DistilGPT2 text generation as durable jobs."""
