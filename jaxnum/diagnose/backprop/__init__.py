"""Hand-written backpropagation: the network behind it, and the mistakes people make in it."""
