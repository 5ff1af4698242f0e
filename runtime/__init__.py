"""What every process needs and no business knows: settings, logs, metrics, traces, ids, the database. Imports nothing of ours."""
