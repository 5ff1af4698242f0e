"""The leads worker: delivers each lead to its partner's CRM until it is accepted or given up, and keeps every attempt."""
