"""Files of requests, worked through as jobs: read, run and answered line by line."""
