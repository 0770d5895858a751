"""A migration whose other end belongs to a partner: the calls, who asks them, and who answers them."""
