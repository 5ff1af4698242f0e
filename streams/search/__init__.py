"""The search worker: changes to documents reach Elasticsearch, and an older change never undoes a newer one."""
