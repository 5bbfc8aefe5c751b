"""The application that gunicorn serves: settings from the environment, jobs in Redis."""

from __future__ import annotations

from distilq import tracing
from distilq.access import KeyRing
from distilq.archive import Library
from distilq.connection import connect
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import Sweeper

from .app import create_app
from .batches.runner import Runner

settings = Settings.from_env()
redis = connect(settings.redis_url)
traces = tracing.begin(settings, "distilq-api")  # gunicorn loads this module after its fork
library = Library.over(redis, settings)
store = JobStore(redis, settings, traces)
app = create_app(settings, store, KeyRing(redis), library, traces)
app.extensions["distilq.sweeper"] = Sweeper(redis, settings.model)  # started in each process
app.extensions["distilq.batches"] = Runner(app, library)  # as well
