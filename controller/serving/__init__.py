"""The HTTP interface: routes, what they send, and how they say no; the program beneath does not know it."""
