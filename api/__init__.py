"""The HTTP API: a thin Flask application over the job store. It never imports torch."""
