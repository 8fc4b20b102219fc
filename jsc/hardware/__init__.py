"""A network of integers, its exact interpreter, and the circuit that it becomes."""
