"""The bundled model: its weights, its tokenizer and the script that trained it."""
