"""The tools of every process, whatever its business: settings, logs, metrics, traces, ids, Postgres. Imports nothing of ours."""
