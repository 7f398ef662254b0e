"""The only code that registers a version, appends to the ledger or moves an alias."""
