"""Update rules of optimizers, recognized from the steps they take."""
