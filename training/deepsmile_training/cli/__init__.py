"""`deepsmile-train`: one file per group of commands."""
