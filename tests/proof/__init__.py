"""The two proofs: the short one of every change, and everything."""
