"""The application that gunicorn serves: settings from the environment, jobs in Redis."""

from __future__ import annotations

from distilq.connection import connect
from distilq.settings import Settings
from distilq.store import JobStore

from .app import create_app

settings = Settings.from_env()
app = create_app(settings, JobStore(connect(settings.redis_url), settings))
