"""An empty Flask view that reads the body, and gunicorn's settings for it: those of the API.

gunicorn -c python:benchmarks.empty benchmarks.empty:app
"""

from __future__ import annotations

from flask import Flask, Response, request

from api import gunicorn_conf

worker_class = gunicorn_conf.worker_class
workers = gunicorn_conf.workers
threads = gunicorn_conf.threads
keepalive = gunicorn_conf.keepalive
timeout = gunicorn_conf.timeout
accesslog = gunicorn_conf.accesslog
control_socket_disable = gunicorn_conf.control_socket_disable

app = Flask(__name__, static_folder=None)


@app.post("/")
def empty() -> Response:
    request.get_data(cache=False)
    return Response("{}\n", 200, content_type="application/json")
