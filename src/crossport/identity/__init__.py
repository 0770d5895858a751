"""Who a site is: its certificate authority, its secrets at rest, and the tokens it hands out."""
