"""The audit log as a Merkle tree (RFC 9162): records, heads, proofs, and how they are checked. Pure."""
