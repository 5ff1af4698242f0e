"""
Fetches objects from Stripe's API, beside the handler.

The handler records the objects to fetch in its own transaction and does not wait: a slow or dead API delays no other payment. A
loop of the same worker fetches them within a rate and records each answer as an event of ours. So the fold, its marks and the log
do not depend on fetching, and a replay of the log has the answer.
"""
