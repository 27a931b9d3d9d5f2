"""What every algorithm promises, whoever wrote it, and a suite that holds it to that."""
