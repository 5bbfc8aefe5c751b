"""The worker: Celery, one engine thread, one model. It never imports flask."""
