"""The tools of every process, without its business: settings, logs, metrics, traces, ids, Postgres. Imports no other package."""
