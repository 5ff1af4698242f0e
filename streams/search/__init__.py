"""The search worker: what is said of documents becomes what Elasticsearch finds, and an old word never undoes a newer one."""
