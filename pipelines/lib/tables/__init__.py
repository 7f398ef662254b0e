"""Tables: the declaration of a dataset, the engine that moves its rows, and the SQL expressions that people write about them."""
