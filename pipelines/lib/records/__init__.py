"""The append-only records, the ledger and the journal, and the database that keeps them."""
