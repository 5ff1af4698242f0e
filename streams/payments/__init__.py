"""The payments worker: provider events become payments, subscriptions and invoices, the same in whatever order they come."""
