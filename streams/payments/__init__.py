"""The payments worker: it folds provider events into payments, subscriptions and invoices, with the same result in any order."""
