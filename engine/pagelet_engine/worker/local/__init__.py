"""A worker in one process on a CPU: executes a step when it is submitted, by the model's recorded pass or eagerly."""
