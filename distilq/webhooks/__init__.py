"""Webhooks: the ends of jobs, told to whom their submitters named (Standard Webhooks)."""
