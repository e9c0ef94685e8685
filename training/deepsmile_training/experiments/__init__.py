"""The paper's experiments on any prepared cohort: its tables and figures, cell by cell."""
