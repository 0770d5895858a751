"""What the API serves: one module per resource, each with the table of its routes."""
