"""Pin a run to a version; register, promote, verify and replay a version; roll back. The ledger decides which version is champion."""
