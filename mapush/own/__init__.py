"""What a user brings: code by its name, and the solids that an object of their own is made of."""
