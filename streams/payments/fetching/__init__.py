"""
Stripe's API asked for objects, beside the handler.

The handler writes down what is to be asked for, in its own transaction, and waits for nobody: a slow or dead API holds up no
other payment. A loop of the same worker asks, within a rate, and hands in what it gets as an event of ours: the fold, its marks
and the log know nothing of asking, and who reads the log again has the answer.
"""
