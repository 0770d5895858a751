"""The signer: a process and a user of its own, which holds the site's keys and judges what it signs."""
