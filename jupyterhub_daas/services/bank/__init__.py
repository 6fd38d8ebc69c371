"""The bank of machines: which there are, in which state, and whose each is."""
